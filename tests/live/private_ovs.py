"""A private Open vSwitch with bridges, links and hosts in network namespaces of its own, for live tests.

Nothing of the machine's own Open vSwitch or interfaces is touched: the namespaces are anonymous, and the kernel removes
them with every interface in them when the processes that hold them end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


def missing() -> str | None:
    """Why live tests cannot run here, None when they can."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    for tool in ("ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-ofctl", "unshare", "nsenter", "ip", "ethtool"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    return None if SCHEMA.exists() else f"needs {SCHEMA}"


def die_with_parent() -> None:
    """For ``preexec_fn``: end when the test process ends (PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Namespace:
    """A network namespace, held by a process that sleeps in it."""

    def __init__(self) -> None:
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "3600"], preexec_fn=die_with_parent)
        deadline_s = time.monotonic() + 5
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.holder.pid}/ns/net") == own and time.monotonic() < deadline_s:
            time.sleep(0.002)
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *words: str) -> list[str]:
        """The command line that runs ``words`` in here."""
        return ["nsenter", "-t", str(self.holder.pid), "-n", *words]

    def run(self, *words: str, check: bool = True, timeout_s: float = 20, **environment: str) -> str:
        """Run a command in here; its output."""
        done = subprocess.run(
            self.command(*words),
            check=False,
            timeout=timeout_s,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stdout}")
        return done.stdout

    def start(self, *words: str, **keywords: object) -> subprocess.Popen[str]:
        """Start a process in here that ends with the test process."""
        return subprocess.Popen(self.command(*words), preexec_fn=die_with_parent, text=True, **keywords)  # type: ignore[call-overload,no-any-return]

    def close(self) -> None:
        """End the holder."""
        self.holder.kill()
        self.holder.wait()


class PrivateOvs:
    """Switches ``s1``... with these dpids, links between them and hosts ``10.0.0.<dpid>`` on port 100."""

    HOST_PORT = 100

    def __init__(self, directory: Path, controller: str) -> None:
        self.directory = directory
        self.controller = controller
        self.net = Namespace()
        self.hosts: dict[int, Namespace] = {}
        self.ports: dict[tuple[int, int], int] = {}
        self._next_port: dict[int, int] = {}
        self._environment = {name: str(directory) for name in ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR")}
        database = directory / "conf.db"
        self.net.run("ovsdb-tool", "create", str(database), str(SCHEMA), **self._environment)
        quiet = ("-vconsole:off", "-vsyslog:off")
        self._daemons = [
            self._daemon(
                "ovsdb-server",
                str(database),
                f"--remote=punix:{directory}/db.sock",
                f"--unixctl={directory}/db.ctl",
                f"--log-file={directory}/db.log",
                *quiet,
            )
        ]
        self._await_file(directory / "db.sock")
        self.vsctl("--no-wait", "init")
        self._daemons.append(
            self._daemon(
                "ovs-vswitchd",
                f"unix:{directory}/db.sock",
                f"--unixctl={directory}/vs.ctl",
                f"--log-file={directory}/vs.log",
                *quiet,
            )
        )
        self._await_file(directory / "vs.ctl")

    def vsctl(self, *words: str) -> str:
        """Run ovs-vsctl against the private database."""
        return self.net.run("ovs-vsctl", *words, **self._environment)

    def ofctl(self, *words: str, check: bool = True) -> str:
        """Run ovs-ofctl with OpenFlow 1.3."""
        return self.net.run("ovs-ofctl", "-O", "OpenFlow13", *words, check=check, **self._environment)

    def add_network(self, links: Sequence[tuple[int, int]], hosts: Sequence[int] = ()) -> None:
        """Add switches, links (both directions) and hosts, then point all switches to the controller."""
        dpids = sorted({end for link in links for end in link} | set(hosts))
        words: list[str] = []
        for dpid in dpids:
            words += ["--", "add-br", f"s{dpid}", "--", "set", "bridge", f"s{dpid}", "datapath_type=netdev"]
            words += ["fail_mode=secure", "protocols=OpenFlow13", f"other_config:datapath-id={dpid:016x}"]
            words += ["other_config:disable-in-band=true"]
        commands: list[str] = []
        for position, (left, right) in enumerate(links):
            names = f"l{position}a", f"l{position}b"
            commands.append(f"link add {names[0]} type veth peer name {names[1]}")
            for name, dpid, other in zip(names, (left, right), (right, left), strict=True):
                commands += [f"link set {name} mtu 1600 up"]
                words += self._add_port(dpid, name, self._free_port(dpid, other))
        for dpid in hosts:
            self.hosts[dpid] = host = Namespace()
            commands.append(f"link add h{dpid} type veth peer name eth0 netns {host.holder.pid}")
            commands.append(f"link set h{dpid} up")
            words += self._add_port(dpid, f"h{dpid}", self.HOST_PORT)
        batch = self.directory / "links.batch"
        batch.write_text("\n".join(commands) + "\n")
        self.net.run("ip", "-batch", str(batch))
        for dpid, host in self.hosts.items():
            host.run("ip", "link", "set", "eth0", "address", host_mac(dpid), "up")
            host.run("ip", "addr", "add", f"{host_ip(dpid)}/16", "dev", "eth0")
            host.run("ethtool", "-K", "eth0", "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off")
        self.vsctl(*words[1:])
        self.connect(dpids)

    def connect(self, dpids: Sequence[int]) -> None:
        """Point switches to the controller; they try again every second at most."""
        words: list[str] = []
        for dpid in dpids:
            words += ["--", "set-controller", f"s{dpid}", self.controller]
            words += ["--", "set", "controller", f"s{dpid}", "max_backoff=1000", "inactivity_probe=5000"]
        self.vsctl(*words[1:])

    def set_link(self, name: str, up: bool) -> None:
        """Set one end of a veth pair up or down; both ends notice."""
        self.net.run("ip", "link", "set", name, "up" if up else "down")

    def close(self) -> None:
        """End the daemons and the namespaces."""
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()
        for namespace in [*self.hosts.values(), self.net]:
            namespace.close()

    def _free_port(self, dpid: int, other: int) -> int:
        number = self._next_port.get(dpid, 1)
        self._next_port[dpid] = number + 1
        self.ports.setdefault((dpid, other), number)
        return number

    def _add_port(self, dpid: int, name: str, number: int) -> list[str]:
        return ["--", "add-port", f"s{dpid}", name, "--", "set", "interface", name, f"ofport_request={number}"]

    def _daemon(self, *words: str) -> subprocess.Popen[str]:
        return self.net.start(*words, env={**os.environ, **self._environment}, stderr=subprocess.DEVNULL)

    def _await_file(self, path: Path) -> None:
        deadline_s = time.monotonic() + 10
        while not path.exists():
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"{path} does not appear")
            time.sleep(0.01)


def host_ip(dpid: int) -> str:
    """Address of a switch's host."""
    return f"10.0.{dpid >> 8}.{dpid & 255}"


def host_mac(dpid: int) -> str:
    """MAC of a switch's host."""
    return f"02:00:00:00:{dpid >> 8:02x}:{dpid & 255:02x}"
