"""A scenario on the wire: its JSON text, compressed, known by its hash; and the server's store of those it has read.

The JSON form is the one that every other program writes and reads; numbers in it round trip exactly.
"""

from __future__ import annotations

import hashlib
import json
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass

from gnn_model.service.limits import ServiceLimits
from topology_sync.errors import InputError, ScenarioError
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import scenario_from_json, scenario_to_json
from topology_sync.strict_json import parse_json

COMPRESSION_LEVEL = 1  # 5 to 20 times smaller already, at next to no time
HASH_BYTES = 32


class UnknownScenarioError(Exception):
    """The server does not keep the scenario of this hash; the client sends its content then."""


@dataclass(frozen=True)
class PackedScenario:
    """What stands in the message: SHA-256 of the JSON text, and the text compressed."""

    sha256: bytes
    content: bytes


@dataclass(frozen=True, eq=False)
class KnownScenario:
    """A scenario that was read, with what checking candidates against it needs: ends of each link, hops of the base."""

    scenario: Scenario
    link_source: tuple[int, ...]
    link_target: tuple[int, ...]
    hops: int
    size_bytes: int

    @classmethod
    def of(cls, scenario: Scenario, size_bytes: int = 0) -> KnownScenario:
        """Prepare a scenario."""
        topology = scenario.topology
        return cls(
            scenario,
            tuple(topology.link_source.tolist()),
            tuple(topology.link_target.tolist()),
            len(scenario.routing.flat.hop_link),
            size_bytes,
        )


def pack_scenario(scenario: Scenario) -> PackedScenario:
    """The wire form.  Goals stay at home: no predictor looks at them, and the same network hashes the same."""
    data = scenario_to_json(scenario)
    del data["sla"]
    try:
        text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, UnicodeEncodeError) as error:
        raise ScenarioError("scenario", f"cannot be sent ({error})", "give finite numbers and plain names") from None
    return PackedScenario(hashlib.sha256(text).digest(), zlib.compress(text, COMPRESSION_LEVEL))


def unpack_scenario(packed: PackedScenario, limits: ServiceLimits) -> KnownScenario:
    """Read a scenario.  Raises InputError: one line naming the place in the message."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed.content, limits.content_bytes)
    except zlib.error as error:
        raise ScenarioError("scenario.content", f"is not compressed by zlib ({error})", "compress the JSON") from None
    if unpacker.unconsumed_tail:
        raise ScenarioError(
            "scenario.content", f"is larger than {limits.content_bytes // 2**20} MiB unpacked", "send a smaller one"
        )
    if not unpacker.eof or unpacker.unused_data:
        raise ScenarioError("scenario.content", "is not one whole zlib stream", "send it again")
    if hashlib.sha256(text).digest() != packed.sha256:
        raise ScenarioError("scenario.sha256", "is not that of the unpacked content", "send the SHA-256 of the JSON")
    try:
        scenario = scenario_from_json(parse_json(text.decode()))
        _check_size(scenario, limits)
    except UnicodeDecodeError as error:
        raise ScenarioError("scenario.content", f"is no UTF-8 text (byte {error.start})", "send UTF-8") from None
    except InputError as error:
        raise ScenarioError(f"scenario.content: {error.place}", error.problem, error.remedy) from None
    return KnownScenario.of(scenario, len(text))


def _check_size(scenario: Scenario, limits: ServiceLimits) -> None:
    for place, found, most in (
        ("topology.nodes", scenario.topology.node_count, limits.nodes),
        ("topology.links", scenario.topology.link_count, limits.links),
        ("traffic", scenario.traffic.demand_count, limits.demands),
    ):
        if found > most:
            raise ScenarioError(place, f"has {found} entries", f"this server takes at most {most}")


class ScenarioStore:
    """Scenarios by hash, the longest unused forgotten first.  Only what was read here and hashed here gets in."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self._kept: OrderedDict[bytes, KnownScenario] = OrderedDict()
        self._size_bytes = 0
        self._lock = threading.Lock()

    def get(self, packed: PackedScenario) -> KnownScenario:
        """The scenario of the hash, or of the content.  Raises UnknownScenarioError or InputError."""
        if len(packed.sha256) != HASH_BYTES:
            raise ScenarioError(
                "scenario.sha256", f"has {len(packed.sha256)} bytes", f"send the {HASH_BYTES} bytes of a SHA-256"
            )
        with self._lock:
            known = self._kept.get(packed.sha256)
            if known is not None:
                self._kept.move_to_end(packed.sha256)
                return known
        if not packed.content:
            raise UnknownScenarioError
        fresh = unpack_scenario(packed, self._limits)
        with self._lock:
            if packed.sha256 not in self._kept:
                self._kept[packed.sha256] = fresh
                self._size_bytes += fresh.size_bytes
            self._forget()
        return fresh

    def _forget(self) -> None:
        limits = self._limits
        while len(self._kept) > 1 and (
            len(self._kept) > limits.scenarios_kept or self._size_bytes > limits.scenario_bytes_kept
        ):
            _, forgotten = self._kept.popitem(last=False)
            self._size_bytes -= forgotten.size_bytes
