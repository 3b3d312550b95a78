"""Packet-level simulation of a scenario: ``simulator.PacketSimulator``.  Importing this package alone stays cheap."""
