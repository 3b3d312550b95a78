"""Delay of flows on real routers (datanet's 2023 set) from flow-level features; docs/real_routers.md."""
