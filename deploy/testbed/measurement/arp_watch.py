"""Listens to the ARP of every host: who asked for whom, and was it told?  So that a lost packet can be explained."""

from __future__ import annotations

import ctypes
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from controller.packets import ARP_REPLY, ARP_REQUEST, decode_arp
from deploy.testbed.emulated_network import EmulatedHost
from deploy.testbed.network_namespace import NetworkNamespace
from topology_sync.values import BoolArray, IntArray, bool_array

ETHERTYPE_ARP = 0x0806
ANSWER_TIMEOUT_NS = 1_000_000_000
"""Linux asks again after a second."""
_TICK_S = 0.2
_EVERYTHING = 3  # ETH_P_ALL: sockets of one protocol are not shown what a host itself sends
_SO_ATTACH_FILTER = 26
_ARP_ONLY = ((0x28, 0, 0, 12), (0x15, 0, 1, ETHERTYPE_ARP), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0))
"""Classic BPF: load the ethertype; if it is ARP's take the frame, else leave it."""

Asking = tuple[str, str]
"""The node whose host asks, and the address that it asks for."""


@dataclass(frozen=True)
class ArpLog:
    """When (CLOCK_REALTIME, ns, ascending) each host asked for each address, and when it was told."""

    asked_ns: Mapping[Asking, Sequence[int]]
    told_ns: Mapping[Asking, Sequence[int]]

    def unanswered(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """Requests within these times, and how many of them had no answer within a second."""
        asked = unanswered = 0
        for asking, times_ns in self.asked_ns.items():
            told_ns = np.asarray(self.told_ns.get(asking, ()), dtype=np.int64)
            for time_ns in times_ns:
                if start_ns <= time_ns < end_ns:
                    asked += 1
                    place = int(np.searchsorted(told_ns, time_ns))
                    unanswered += bool(place == len(told_ns) or told_ns[place] - time_ns > ANSWER_TIMEOUT_NS)
        return asked, unanswered

    def waiting(self, askings: Sequence[Asking], at_ns: IntArray) -> BoolArray:
        """Whether at each of these times the last word between host and address was a question without an answer."""

        def last_ns(times_ns: Sequence[int], now_ns: int) -> int:
            place = int(np.searchsorted(np.asarray(times_ns, dtype=np.int64), now_ns, side="right"))
            return times_ns[place - 1] if place else 0

        return bool_array(
            [
                last_ns(self.asked_ns.get(asking, ()), int(now_ns)) > last_ns(self.told_ns.get(asking, ()), int(now_ns))
                for asking, now_ns in zip(askings, at_ns, strict=True)
            ]
        )


class ArpWatch:
    """A context: listens on the interfaces of these hosts in a thread of its own; ``log`` is what it heard."""

    def __init__(self, hosts: Iterable[EmulatedHost]) -> None:
        self._selector = selectors.DefaultSelector()
        self._asked: dict[Asking, list[int]] = {}
        self._told: dict[Asking, list[int]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        for host in hosts:
            namespace = NetworkNamespace.of_process(host.process_id)
            with namespace.entered():
                listening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
                _take_arp_only(listening)
                listening.bind((host.interface, _EVERYTHING))
            namespace.close()
            listening.setblocking(False)
            self._selector.register(listening, selectors.EVENT_READ, host.node)
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> ArpWatch:
        self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join(timeout=5 * _TICK_S)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def log(self) -> ArpLog:
        """All that was heard so far."""
        with self._lock:
            asked, told = (
                {asking: tuple(times_ns) for asking, times_ns in heard.items()} for heard in (self._asked, self._told)
            )
        return ArpLog(asked, told)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(_TICK_S):
                assert isinstance(key.fileobj, socket.socket)
                frame, address = key.fileobj.recvfrom(2048)
                self._take(key.data, frame, address[2] == socket.PACKET_OUTGOING, time.time_ns())

    def _take(self, node: str, frame: bytes, outgoing: bool, now_ns: int) -> None:
        message = decode_arp(frame)
        if message is None:
            return
        with self._lock:
            if outgoing and message.operation == ARP_REQUEST and message.sender_ip != message.target_ip:
                self._asked.setdefault((node, message.target_ip), []).append(now_ns)
            elif not outgoing and message.operation == ARP_REPLY:
                self._told.setdefault((node, message.sender_ip), []).append(now_ns)


def _take_arp_only(listening: socket.socket) -> None:
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _ARP_ONLY))
    described = struct.pack("HL", len(_ARP_ONLY), ctypes.addressof(program))
    listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
