"""The 2023 set: flows measured on real routers, as published features (no packet traces), in npz files.

``sample_flow_ptr``, ``sample_link_ptr`` and ``flow_path_ptr`` are CSR pointers; ``path_links`` are numbered within a
sample.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from topology_sync.errors import ScenarioError
from topology_sync.values import BoolArray, FloatArray, IntArray, bool_array, float_array, int_array

_FLOWS = ("traffic_bps", "packets_per_s", "packet_size_bits", "is_cbr", "is_mb", "delay_ms")
_POINTERS = ("sample_flow_ptr", "sample_link_ptr", "flow_path_ptr", "path_links", "link_capacity_gbps", "fold")
MILLI, GIGA = 1e-3, 1e9


@dataclass(frozen=True)
class TestbedSample:
    """One measurement.  Paths are link numbers; ``is_constant`` marks CBR flows, the others send bursts.

    Shapes: [flows], ``path_pointer`` [flows + 1], ``path_links`` [hops], ``capacity_bps`` [links].  ``fold`` is that
    of the official cross-validation, ``delay_s`` the measured mean, NaN where there is none.
    """

    __test__ = False

    number: int
    fold: int
    capacity_bps: FloatArray
    path_pointer: IntArray
    path_links: IntArray
    rate_bps: FloatArray
    packets_per_s: FloatArray
    packet_bits: FloatArray
    is_constant: BoolArray
    delay_s: FloatArray


def read_testbed(path: Path) -> Iterator[TestbedSample]:
    """All samples of one file, in order.  Raises ScenarioError naming the file and the array that is wrong."""
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in (*_FLOWS, *_POINTERS)}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ScenarioError(str(path), f"is no readable 2023 set ({error})", "give its .npz file") from None
    flow_at, link_at, hop_at = (arrays[name] for name in _POINTERS[:3])
    flows = len(hop_at) - 1
    for name, pointer, last in (
        ("sample_flow_ptr", flow_at, flows),
        ("sample_link_ptr", link_at, len(arrays["link_capacity_gbps"])),
        ("flow_path_ptr", hop_at, len(arrays["path_links"])),
    ):
        if len(pointer) < 1 or pointer[0] != 0 or pointer[-1] != last or (np.diff(pointer) < 0).any():
            raise ScenarioError(f"{path}: {name}", f"does not run from 0 to {last}", "fetch the file again")
    if len(flow_at) != len(link_at) or any(len(arrays[name]) != flows for name in _FLOWS):
        raise ScenarioError(str(path), "has arrays of different lengths", "fetch the file again")
    for number in range(len(flow_at) - 1):
        flow = slice(int(flow_at[number]), int(flow_at[number + 1]))
        hop = slice(int(hop_at[flow.start]), int(hop_at[flow.stop]))
        capacity = arrays["link_capacity_gbps"][int(link_at[number]) : int(link_at[number + 1])]
        links = arrays["path_links"][hop]
        if len(links) and not 0 <= links.min() <= links.max() < len(capacity):
            raise ScenarioError(f"{path}: sample {number}", "a path has a link that is not there", "fetch it again")
        delay = np.asarray(arrays["delay_ms"][flow], dtype=np.float64)
        yield TestbedSample(
            number=number,
            fold=int(arrays["fold"][number]),
            capacity_bps=float_array(capacity * GIGA),
            path_pointer=int_array(hop_at[flow.start : flow.stop + 1] - hop_at[flow.start]),
            path_links=int_array(links),
            rate_bps=float_array(arrays["traffic_bps"][flow]),
            packets_per_s=float_array(arrays["packets_per_s"][flow]),
            packet_bits=float_array(arrays["packet_size_bits"][flow]),
            is_constant=bool_array(arrays["is_cbr"][flow]),
            delay_s=float_array(np.where(delay > 0, delay * MILLI, np.nan)),
        )
