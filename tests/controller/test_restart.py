"""After a crash and a restart the switches are sent nothing, however slowly they come back, while nothing changed."""

from __future__ import annotations

import ipaddress
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from controller.packets import ARP_REQUEST, BROADCAST, Arp, encode_arp
from controller.settings import ControllerSettings
from tests.controller.fake_network import FakeNetwork
from tests.controller.test_process import eventually, free_port, running

CABLES = ((1, 2), (2, 3), (3, 4), (4, 1), (1, 3))
SWITCHES = (1, 2, 3, 4)


def address(dpid: int) -> str:
    return f"10.9.{dpid}.1"


def mac(dpid: int) -> str:
    return f"02:00:00:00:09:{dpid:02x}"


def ipv4_frame(source: int, target: int) -> bytes:
    """A UDP packet of the host at one switch to that at another."""
    header = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0, 64, 17, 0)
    ends = ipaddress.IPv4Address(address(source)).packed + ipaddress.IPv4Address(address(target)).packed
    to, of = (bytes.fromhex(mac(dpid).replace(":", "")) for dpid in (target, source))
    return to + of + b"\x08\x00" + header + ends + bytes(8)


class Restarting:
    """A fake network, its controller's settings, and how to ask that controller."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.network = FakeNetwork(CABLES)
        self.settings = ControllerSettings(
            state_directory=str(directory / "state"),
            openflow_port=free_port(),
            api_socket=str(directory / "api"),
            probes_per_s=20.0,
        )

    def ask(self, path: str) -> dict:
        transport = httpx.HTTPTransport(uds=self.settings.api_socket)
        with httpx.Client(transport=transport, base_url="http://controller", timeout=10) as client:
            return client.get(path).json()

    def at_rest(self) -> bool:
        """Every switch is in line, every link up, and nothing new expected."""
        figures, state = self.ask("/api/v1/statistics"), self.ask("/api/v1/state")
        links = state["links"]["up"]
        in_line = figures["switches_in_line"] == len(SWITCHES)
        return bool(figures["settled"] and in_line and len(links) == 2 * len(CABLES) and all(links))

    def prepare(self) -> None:
        """A first life: discover, learn hosts, route every pair, come to rest."""
        with running(self.settings, self.directory):
            for dpid in SWITCHES:
                self.network.connect(self.settings.openflow_port, dpid)
            eventually(self.at_rest, 20)
            for dpid in SWITCHES:
                hello = Arp(ARP_REQUEST, mac(dpid), address(dpid), "00:00:00:00:00:00", address(dpid))
                self.network.connections[dpid].packet_in(self.network.ports[dpid], encode_arp(hello, BROADCAST))
            eventually(lambda: len(self.ask("/api/v1/state")["hosts"]) == len(SWITCHES))
            for source in SWITCHES:
                for target in SWITCHES:
                    if source != target:
                        port = self.network.ports[source]
                        self.network.connections[source].packet_in(port, ipv4_frame(source, target))
            demands = len(SWITCHES) * (len(SWITCHES) - 1)
            eventually(lambda: len(self.ask("/api/v1/state")["scenario"]["traffic"]) == demands)
            self.rest()

    def rest(self, seconds: float = 1.0) -> None:
        """Until at rest and nothing was sent for a while."""
        seen, since_s = -1, time.monotonic()

        def quiet() -> bool:
            nonlocal seen, since_s
            if self.network.changes != seen or not self.at_rest():
                seen, since_s = self.network.changes, time.monotonic()
            return time.monotonic() - since_s > seconds

        eventually(quiet, 30)

    def changes_after_restart(self, connect: Callable[[FakeNetwork, int], None]) -> int:
        """Start anew, let the switches come back as ``connect`` has them, wait for rest; the changes that were sent."""
        before = self.network.changes
        with running(self.settings, self.directory):
            connect(self.network, self.settings.openflow_port)
            self.rest()
        return self.network.changes - before


@pytest.fixture(scope="module")
def restarting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarting]:
    found = Restarting(tmp_path_factory.mktemp("restart"))
    found.prepare()
    yield found
    for connection in found.network.connections.values():
        connection.close()


def at_once(network: FakeNetwork, port: int) -> None:
    for dpid in SWITCHES:
        network.connect(port, dpid)


def slow_and_late(network: FakeNetwork, port: int) -> None:
    """Two switches take their time to list their rules, and one comes back after the others."""
    network.answer_s = {2: 0.3, 3: 0.7}
    for dpid in SWITCHES[1:]:
        network.connect(port, dpid)
    network.connect_later(port, SWITCHES[0], 1.5)


def deaf_links(network: FakeNetwork, port: int) -> None:
    """LLDP of one cable is lost for longer than a link may be silent after a restart."""
    source = next(end for end, peer in network.peers.items() if (end[0], peer[0]) == (1, 2))
    network.cut = {source}
    threading.Timer(4.5, network.cut.clear).start()
    at_once(network, port)


@pytest.mark.parametrize("connect", [slow_and_late, deaf_links])
def test_a_restart_sends_nothing(restarting: Restarting, connect: Callable[[FakeNetwork, int], None]) -> None:
    try:
        assert restarting.changes_after_restart(connect) == 0
    finally:
        restarting.network.answer_s = {}
