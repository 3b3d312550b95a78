"""An Open vSwitch of our own: database, daemon and control sockets in one directory, apart from the machine's."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from deploy.process_control import Child, last_lines, start_child, stop_child, wait_until
from topology_sync.errors import UnavailableError

_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_TOOLS = ("ovsdb-server", "ovs-vswitchd", "ovsdb-tool", "ovs-vsctl")
_SYS_PIDFD_GETFD = 438
_SO_SNDBUFFORCE = 32
_SEND_BUFFER_BYTES = 64 * 2**20
_REVALIDATOR_MS = 100
_REAL_TIME_PRIORITY = 10  # below the sender's
_libc = ctypes.CDLL(None, use_errno=True)


class PrivateOpenvSwitch:
    """``ovsdb-server`` and ``ovs-vswitchd`` as direct children, in the network namespace of the caller.

    ``environment`` points the Open vSwitch tools (``ovs-vsctl``, ``ovs-ofctl``) at this instance.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: list[Child] = []
        self.environment = {
            name: str(directory) for name in ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")
        }
        # Room for a whole burst of packet buffers in the fast cache, see frame_sizes.
        self._daemon_environment = {**self.environment, "GLIBC_TUNABLES": "glibc.malloc.tcache_count=127"}

    @property
    def ovsdb(self) -> str:
        """Where its database is."""
        return f"unix:{self._directory / 'db.sock'}"

    @staticmethod
    def missing_tools() -> list[str]:
        """Names of the programs that are not installed."""
        return [tool for tool in _TOOLS if shutil.which(tool, path=_PATH) is None]

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Database server first, then the switch daemon."""
        return tuple(child.pid for child in self._children)

    def start(self) -> None:
        """Start both and wait until the daemon has taken its configuration.  Raises UnavailableError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        database, socket_path = self._directory / "conf.db", self._directory / "db.sock"
        self._run("ovsdb-tool", "create", database, _SCHEMA)
        self._start("ovsdb-server", database, f"--remote=punix:{socket_path}")
        wait_until(socket_path.exists, 10, "the private ovsdb-server did not open its socket")
        self.vsctl(
            "--no-wait", "init", "--", "set", "Open_vSwitch", ".", f"other_config:max-revalidator={_REVALIDATOR_MS}"
        )
        # --disable-system: never touch a kernel datapath, which is shared by the whole machine.
        self._start("ovs-vswitchd", f"unix:{socket_path}", "--disable-system", before_exec=_run_before_others)
        self.await_daemon()

    def await_daemon(self) -> None:
        """Wait until the daemon has carried out all that the database says.  Raises UnavailableError."""
        self.vsctl("--timeout=10", "set", "Open_vSwitch", ".", "external_ids:started=yes")

    def ports_with_queues(self) -> int:
        """Number of ports for which the database has queues."""
        return len(self.vsctl("--bare", "--columns=name", "find", "Port", "qos!=[]").split())

    def vsctl(self, *arguments: str) -> str:
        """Run ``ovs-vsctl`` against this instance and return what it printed."""
        return self._run("ovs-vsctl", *arguments)

    def ofctl(self, *arguments: str) -> str:
        """Run ``ovs-ofctl -O OpenFlow13`` against this instance and return what it printed."""
        return self._run("ovs-ofctl", "-O", "OpenFlow13", *arguments)

    def enlarge_send_buffer(self) -> bool:
        """Give the daemon's one sending socket room for every queue of the emulated network.

        Open vSwitch sends on all interfaces through a single AF_PACKET socket, so packets that wait in any interface's
        queue count against one send buffer (208 KiB by default), and two or three full queues make it drop packets of
        links that are idle.  The socket appears with the first packet sent; returns False while there is none.
        The machine-wide default is left alone: the limit of this very socket is raised through a borrowed descriptor.
        """
        daemon = self._children[1].pid
        handle = os.pidfd_open(daemon)
        found = False
        try:
            for name in os.listdir(f"/proc/{daemon}/fd"):
                try:
                    if not os.readlink(f"/proc/{daemon}/fd/{name}").startswith("socket:"):
                        continue
                except OSError:
                    continue
                descriptor = _libc.syscall(_SYS_PIDFD_GETFD, handle, int(name), 0)
                if descriptor < 0:
                    continue
                with socket.socket(fileno=descriptor) as borrowed:
                    # The sending socket is bound to no interface; the receiving ones are.
                    if borrowed.family == socket.AF_PACKET and not borrowed.getsockname()[0]:
                        borrowed.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER_BYTES)
                        found = True
        finally:
            os.close(handle)
        return found

    def stop(self) -> None:
        """Stop both; their interfaces go with the namespace."""
        for child in reversed(self._children):
            stop_child(child)
        self._children.clear()

    def _start(self, program: str, *arguments: str | Path, before_exec: Callable[[], None] | None = None) -> None:
        log = self._directory / f"{program}.log"
        self._children.append(
            start_child(
                [
                    _path_of(program),
                    *map(str, arguments),
                    f"--unixctl={self._directory / program}.ctl",
                    "-vconsole:off",
                    f"--log-file={log}",
                ],
                log=self._directory / f"{program}.out",
                environment=self._daemon_environment,
                before_exec=before_exec,
            )
        )

    def _run(self, program: str, *arguments: str | Path) -> str:
        try:
            finished = subprocess.run(
                [_path_of(program), *map(str, arguments)],
                env={**os.environ, **self.environment},
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"{program} did not answer within 30 s") from error
        if finished.returncode != 0:
            detail = " ".join(finished.stderr.split()) or last_lines(self._directory / "ovs-vswitchd.log")
            raise UnavailableError(f"{program} {' '.join(map(str, arguments))[:80]} failed: {detail}")
        return finished.stdout


def _run_before_others() -> None:
    """Real-time scheduling for the daemon, inherited by its threads: a switch does not wait for other programs.

    A low nice value is not enough: beside busy processes packets would still wait for whole time slices, and that would
    pass for queueing.  ``routewright bench emulator``, run beside them, shows it.
    """
    with suppress(OSError):  # not permitted in some containers: then it is only less exact
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_REAL_TIME_PRIORITY))


_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _path_of(program: str) -> str:
    found = shutil.which(program, path=_PATH)
    if found is None:
        raise UnavailableError(f"{program} is not installed; run: apt-get install openvswitch-switch mininet")
    return found
