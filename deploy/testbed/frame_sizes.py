"""How large packets may be on the emulated network, and what a UDP payload becomes on a link."""

HOST_MTU = 872
"""Small on purpose: Open vSwitch allocates 32 packet buffers of this size for every port it looks at, and only those of
up to 1,032 bytes, its own 146 included, come from the C library's fast per-thread cache.  With 1,500 allocation took
45 % of the switches' processor time."""

LABEL_BYTES = 4
LINK_MTU = HOST_MTU + 2 * LABEL_BYTES  # a path's label and a bypass label on top of it

ETHERNET_BYTES = 14
FRAME_OVERHEAD_BYTES = ETHERNET_BYTES + 20 + 8 + LABEL_BYTES  # Ethernet, IPv4, UDP, one MPLS label
MAX_FRAME_BYTES = ETHERNET_BYTES + LABEL_BYTES + HOST_MTU
