"""A minimal OpenFlow 1.3 switch on a socket: it keeps flows as bytes, answers what it must, or falls deaf."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

VERSION = 4
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, FEATURES_REQUEST, FEATURES_REPLY = 0, 1, 2, 3, 5, 6
PACKET_IN, PORT_STATUS, PACKET_OUT, FLOW_MOD, GROUP_MOD, MULTIPART_REQUEST, MULTIPART_REPLY = 10, 12, 13, 14, 15, 18, 19
BARRIER_REQUEST, BARRIER_REPLY = 20, 21
PORT_DESCRIPTION = 13
BAD_ACTION, BAD_TYPE = 2, 0
NO_BUFFER = 0xFFFFFFFF


class FakeSwitch:
    """One connection.  ``deaf`` makes it stop reading after the handshake; ``mute`` makes it swallow barriers.

    ``refuses`` tells of the body of a flow_mod whether it is answered with an error.
    """

    def __init__(
        self,
        port: int,
        dpid: int,
        ports: int = 2,
        deaf: bool = False,
        mute: bool = False,
        refuses: Callable[[bytes], bool] = lambda body: False,
    ) -> None:
        self.dpid = dpid
        self.ports = ports
        self.deaf = deaf
        self.mute = mute
        self.refuses = refuses
        self.received: list[tuple[int, bytes]] = []
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def count(self, kind: int) -> int:
        """Messages of a type that came so far."""
        return sum(1 for received, _ in self.received if received == kind)

    def packet_outs(self) -> list[bytes]:
        """Frames that the controller had it send."""
        frames = []
        for kind, body in list(self.received):
            if kind == PACKET_OUT:
                (length,) = struct.unpack_from("!H", body, 8)
                frames.append(body[16 + length :])
        return frames

    def packet_in(self, port: int, frame: bytes) -> None:
        """Send a packet up."""
        match = struct.pack("!HHIBB", 1, 12, 0x80000004, 0, 0)[:4] + struct.pack("!II", 0x80000004, port) + bytes(4)
        head = struct.pack("!IHBBQ", NO_BUFFER, len(frame), 0, 0, 0)
        self._send(PACKET_IN, 0, head + match + bytes(2) + frame)

    def raw(self, data: bytes) -> None:
        """Send any bytes."""
        self._socket.sendall(data)

    def close(self) -> None:
        """Cut the connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            self._send(HELLO, 1, b"")
            for kind, xid, body in self._messages():
                self.received.append((kind, body))
                self._answer(kind, xid, body)
                if self.deaf and kind == MULTIPART_REQUEST:
                    threading.Event().wait()
        self.closed.set()

    def _answer(self, kind: int, xid: int, body: bytes) -> None:
        if kind == ECHO_REQUEST:
            self._send(ECHO_REPLY, xid, body)
        elif kind == FEATURES_REQUEST:
            self._send(FEATURES_REPLY, xid, struct.pack("!QIBBxxII", self.dpid, 0, 254, 0, 0x4F, 0))
        elif kind == FLOW_MOD and self.refuses(body):
            head = struct.pack("!BBHI", VERSION, kind, 8 + len(body), xid)
            self._send(ERROR, xid, struct.pack("!HH", BAD_ACTION, BAD_TYPE) + head + body[:56])
        elif kind == BARRIER_REQUEST and not self.mute:
            self._send(BARRIER_REPLY, xid, b"")
        elif kind == MULTIPART_REQUEST:
            (what,) = struct.unpack_from("!H", body)
            ports = b"".join(self._port(number, True) for number in range(1, self.ports + 1))
            parts = ports if what == PORT_DESCRIPTION else b""
            self._send(MULTIPART_REPLY, xid, struct.pack("!HHxxxx", what, 0) + parts)

    def _port(self, number: int, up: bool) -> bytes:
        mac = bytes((2, 0, 0, self.dpid & 255, 0, number))
        name = f"p{number}".encode().ljust(16, b"\0")
        return struct.pack("!I4x6s2x16sIIIIIIII", number, mac, name, 0, 0 if up else 1, 0, 0, 0, 0, 0, 0)

    def _messages(self) -> Iterator[tuple[int, int, bytes]]:
        buffer = b""
        while True:
            data = self._socket.recv(65536)
            if not data:
                return
            buffer += data
            while len(buffer) >= 8:
                _, kind, length, xid = struct.unpack_from("!BBHI", buffer)
                if len(buffer) < length:
                    break
                yield kind, xid, buffer[8:length]
                buffer = buffer[length:]

    def _send(self, kind: int, xid: int, body: bytes) -> None:
        with self._lock:
            self._socket.sendall(struct.pack("!BBHI", VERSION, kind, 8 + len(body), xid) + body)
