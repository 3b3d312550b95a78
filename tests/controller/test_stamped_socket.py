"""What piled up in a receive buffer has one stamp: only the last message of it is dated truly."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import eventlet.greenio
import pytest

from controller.stamped_socket import StampedSocket


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, StampedSocket]]:
    """A sender, and the stamped receiver of a TCP connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted, _ = server.accept()
        receiver = StampedSocket(eventlet.greenio.GreenSocket(accepted))
        time.sleep(0.1)  # Linux begins to stamp a moment after it was asked to
        yield sender, receiver
        sender.close()
        accepted.close()


def test_a_message_read_late_keeps_the_time_of_its_arrival(ends: tuple[socket.socket, StampedSocket]) -> None:
    sender, receiver = ends
    sent_s = time.time()
    sender.sendall(b"8 bytes.")
    time.sleep(0.1)
    assert receiver.recv(8) == b"8 bytes."
    assert receiver.arrived_s - sent_s < 0.05
    assert not receiver.stamp_is_shared()


def test_only_the_last_of_what_piled_up_has_a_stamp_of_its_own(ends: tuple[socket.socket, StampedSocket]) -> None:
    """Linux joins what waits into one buffer with the stamp of its newest part."""
    sender, receiver = ends
    for _ in range(5):
        sender.sendall(b"8 bytes.")
        time.sleep(0.02)
    newest_s = time.time()
    shared = []
    for _ in range(5):
        assert receiver.recv(8) == b"8 bytes."
        shared.append(receiver.stamp_is_shared())
        if shared[-1]:
            assert newest_s - receiver.arrived_s < 0.06, "too late by what was joined to it"
    assert not shared[-1]


def test_the_end_of_the_connection_is_no_message(ends: tuple[socket.socket, StampedSocket]) -> None:
    sender, receiver = ends
    sender.sendall(b"8 bytes.")
    sender.shutdown(socket.SHUT_WR)
    assert receiver.recv(8) == b"8 bytes."
    assert not receiver.stamp_is_shared()
    assert receiver.recv(8) == b""
