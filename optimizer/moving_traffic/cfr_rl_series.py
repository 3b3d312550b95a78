"""Series as CFR-RL keeps them (github.com/jrayzhang6/CFR-RL): a text file ``NAME`` and ``NAMETM`` (or ``NAMETM.xz``).

``NAME`` begins with ``Node_num: N Edge_num: M`` and has a line ``index source target weight capacity`` per directed
link, capacities in kbit/s; ``NAMETM`` has one matrix per line, row by row, in units of 100 bytes per five minutes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from topology_sync.errors import ScenarioError
from topology_sync.strict_json import printable_path, read_text
from topology_sync.topology import Link, Topology

BPS_PER_UNIT = 100 * 8 / 300
FIRST_WORD = "Node_num:"


def is_kept_here(directory: Path, name: str) -> bool:
    """Whether ``directory`` has a network called ``name`` in this form."""
    file = directory / name
    try:
        with file.open("rb") as stream:
            return stream.read(len(FIRST_WORD)) == FIRST_WORD.encode()
    except (OSError, ValueError):
        return False


def read_topology(file: Path) -> Topology:
    """The network.  Raises ScenarioError naming the line."""
    shown = printable_path(str(file))
    lines = [(number, line.split()) for number, line in enumerate(read_text(file).split("\n"), 1) if line.strip()]
    try:
        nodes, links = int(lines[0][1][1]), int(lines[0][1][3])
    except (IndexError, ValueError):
        raise ScenarioError(f"{shown}: line 1", "counts no nodes", "write 'Node_num: N Edge_num: M'") from None
    if len(lines) != links + 2:
        raise ScenarioError(shown, f"has {max(len(lines) - 2, 0)} links, not {links}", "give a line for each")
    names = tuple(str(node) for node in range(nodes))
    found = []
    for number, fields in lines[2:]:
        try:
            source, target, capacity_kbps = names[int(fields[1])], names[int(fields[2])], float(fields[4])
        except (IndexError, ValueError):
            place = f"{shown}: line {number}"
            raise ScenarioError(place, "is no link", "write 'index source target weight capacity'") from None
        found.append(Link(source, target, 1e3 * capacity_kbps))
    if not all(np.isfinite(link.capacity_bps) and link.capacity_bps > 0 for link in found):
        raise ScenarioError(shown, "has a capacity that is not above 0", "give kbit/s above 0")
    return Topology.from_links(names, found)
