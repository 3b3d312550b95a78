"""ARP and IPv4 headers as far as the controller looks into them (RFC 826, RFC 791)."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
BROADCAST = "ff:ff:ff:ff:ff:ff"
CONTROLLER_MAC = "02:52:57:00:00:03"
NO_ADDRESS = "0.0.0.0"
ARP_REQUEST, ARP_REPLY = 1, 2
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET_BYTES = 14


@dataclass(frozen=True)
class Arp:
    """An ARP message for IPv4 over Ethernet."""

    operation: int
    sender_mac: str
    sender_ip: str
    target_mac: str
    target_ip: str

    @property
    def sender_is_a_host(self) -> bool:
        """The sender names an address that one host can have."""
        return is_host_mac(self.sender_mac) and is_host_ip(self.sender_ip)


@dataclass(frozen=True)
class Ipv4:
    """Addresses and DSCP of a packet, and the MAC it was sent from."""

    source_mac: str
    source: str
    target: str
    dscp: int


def ethertype(frame: bytes) -> int:
    """The frame's ethertype, 0 for a frame that is too short."""
    return int.from_bytes(frame[12:14], "big") if len(frame) >= _ETHERNET_BYTES else 0


def decode_arp(frame: bytes) -> Arp | None:
    """The ARP message in a frame, None when it is none for IPv4 over Ethernet."""
    if len(frame) < _ETHERNET_BYTES + _ARP.size or ethertype(frame) != ETHERTYPE_ARP:
        return None
    hardware, protocol, hardware_bytes, protocol_bytes, operation, *addresses = _ARP.unpack_from(frame, _ETHERNET_BYTES)
    if (hardware, protocol, hardware_bytes, protocol_bytes) != (1, ETHERTYPE_IPV4, 6, 4):
        return None
    sender_mac, sender_ip, target_mac, target_ip = addresses
    return Arp(operation, _mac(sender_mac), _ip(sender_ip), _mac(target_mac), _ip(target_ip))


def encode_arp(message: Arp, target_mac: str) -> bytes:
    """The frame that carries an ARP message to ``target_mac``."""
    return (
        _mac_bytes(target_mac)
        + _mac_bytes(message.sender_mac)
        + ETHERTYPE_ARP.to_bytes(2, "big")
        + _ARP.pack(
            1,
            ETHERTYPE_IPV4,
            6,
            4,
            message.operation,
            _mac_bytes(message.sender_mac),
            _ip_bytes(message.sender_ip),
            _mac_bytes(message.target_mac),
            _ip_bytes(message.target_ip),
        )
    )


def decode_ipv4(frame: bytes) -> Ipv4 | None:
    """Addresses and DSCP of the IPv4 packet in a frame, None when there is none."""
    if len(frame) < _ETHERNET_BYTES + 20 or ethertype(frame) != ETHERTYPE_IPV4 or frame[14] >> 4 != 4:
        return None
    return Ipv4(_mac(frame[6:12]), _ip(frame[26:30]), _ip(frame[30:34]), frame[15] >> 2)


def is_host_mac(mac: str) -> bool:
    """One station's address: no group address and not all zeros."""
    first = int(mac[:2], 16)
    return not first & 1 and mac != "00:00:00:00:00:00"


def is_host_ip(ip: str) -> bool:
    """An address that one host can have."""
    address = ipaddress.IPv4Address(ip)
    return not (address.is_unspecified or address.is_multicast or address.is_loopback or ip == "255.255.255.255")


def _mac(data: bytes) -> str:
    return data.hex(":")


def _ip(data: bytes) -> str:
    return f"{data[0]}.{data[1]}.{data[2]}.{data[3]}"


def _mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _ip_bytes(ip: str) -> bytes:
    return ipaddress.IPv4Address(ip).packed
