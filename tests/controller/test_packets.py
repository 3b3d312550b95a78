"""Headers are read as they stand, and nothing that arrives can raise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.packets import (
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    Arp,
    decode_arp,
    decode_ipv4,
    encode_arp,
    ethertype,
    is_host_ip,
    is_host_mac,
)

MACS = st.binary(min_size=6, max_size=6).map(lambda data: data.hex(":"))
ADDRESSES = st.ip_addresses(v=4).map(str)


@given(st.sampled_from([ARP_REQUEST, ARP_REPLY]), MACS, ADDRESSES, MACS, ADDRESSES)
def test_arp_survives_the_wire(operation: int, mac: str, ip: str, other_mac: str, other_ip: str) -> None:
    message = Arp(operation, mac, ip, other_mac, other_ip)
    frame = encode_arp(message, BROADCAST)
    assert decode_arp(frame) == message
    assert decode_arp(frame + bytes(18)) == message
    assert frame[:6] == b"\xff" * 6


@given(st.binary(max_size=80))
def test_no_frame_raises(frame: bytes) -> None:
    for candidate in (frame, bytes(12) + b"\x08\x06" + frame, bytes(12) + b"\x08\x00" + frame):
        ethertype(candidate)
        message = decode_arp(candidate)
        assert message is None or isinstance(message.sender_is_a_host, bool)
        packet = decode_ipv4(candidate)
        assert packet is None or 0 <= packet.dscp < 64


def test_ipv4_header_is_read() -> None:
    header = bytes((0x45, 46 << 2 | 1, 0, 20)) + bytes(8) + bytes((10, 0, 0, 1, 10, 0, 0, 2))
    packet = decode_ipv4(bytes(6) + bytes((2, 0, 0, 0, 0, 9)) + b"\x08\x00" + header)
    assert packet is not None
    assert (packet.source_mac, packet.source, packet.target) == ("02:00:00:00:00:09", "10.0.0.1", "10.0.0.2")
    assert packet.dscp == 46


@pytest.mark.parametrize("ip", ["0.0.0.0", "224.0.0.5", "255.255.255.255", "127.0.0.1"])
def test_addresses_that_no_host_has(ip: str) -> None:
    assert not is_host_ip(ip)
    assert is_host_ip("10.0.0.255")


@pytest.mark.parametrize("mac", ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:00:00:00:00:00"])
def test_macs_that_no_host_has(mac: str) -> None:
    assert not is_host_mac(mac)
    assert is_host_mac("02:00:00:00:00:01")
