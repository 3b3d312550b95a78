"""What is sent when: demands with their rates over time, and the packet schedule computed from them beforehand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deploy.testbed.frame_sizes import FRAME_OVERHEAD_BYTES, MAX_FRAME_BYTES
from topology_sync.traffic import PacketSize
from topology_sync.values import ArrayValue, FloatArray, IntArray, float_array, int_array

HEADER_BYTES = 28  # magic, demand, sequence, time, length: see traffic_sender
MIN_FRAME_BYTES = FRAME_OVERHEAD_BYTES + HEADER_BYTES


@dataclass(frozen=True)
class RateStep:
    """From ``start_s`` (seconds of the plan) on the demand offers ``rate_bps``, counted in frame bits."""

    start_s: float
    rate_bps: float


@dataclass(frozen=True)
class TrafficDemand:
    """All packets of one class from one host to another.  Sizes and rates are those of frames with one label."""

    source: str
    target: str
    traffic_class: str
    dscp: int
    steps: tuple[RateStep, ...]
    packet_bits_mean: float
    packet_size: PacketSize = field(default_factory=PacketSize)
    arrivals: Literal["poisson", "cbr"] = "poisson"

    @property
    def key(self) -> tuple[str, str, str]:
        """Source node, target node and class."""
        return self.source, self.target, self.traffic_class


@dataclass(frozen=True, eq=False)
class Schedule(ArrayValue):
    """Every packet in order of ``time_s``.  All [packets].

    ``sequence`` counts from 0 within a demand, ``payload_bytes`` is the UDP payload, ``flow`` tells which pair of the
    hosts' addresses the packet uses.
    """

    time_s: FloatArray
    demand: IntArray
    sequence: IntArray
    payload_bytes: IntArray
    flow: IntArray

    @property
    def packet_count(self) -> int:
        """Number of packets."""
        return len(self.time_s)

    @property
    def frame_bits(self) -> IntArray:
        """Size of each packet as a link carries it, [packets]."""
        return int_array((self.payload_bytes + FRAME_OVERHEAD_BYTES) * 8)

    def with_added(self, extra: Schedule, at_s: float) -> Schedule:
        """These packets and those of ``extra`` from ``at_s`` on; sequence numbers count through in order of time.

        Packets before ``at_s`` keep their places and numbers.
        """
        time_s = np.concatenate([self.time_s, extra.time_s + at_s])
        order = np.argsort(time_s, kind="stable")

        def merged(name: str) -> IntArray:
            return np.concatenate([getattr(self, name), getattr(extra, name)])[order]

        demand = merged("demand")
        by_demand = np.argsort(demand, kind="stable")
        counts = np.bincount(demand)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        sequence = np.empty(len(demand), dtype=np.int64)
        sequence[by_demand] = np.arange(len(demand)) - first
        return Schedule(
            time_s=float_array(time_s[order]),
            demand=int_array(demand),
            sequence=int_array(sequence),
            payload_bytes=int_array(merged("payload_bytes")),
            flow=int_array(merged("flow")),
        )

    def save(self, path: Path) -> None:
        """Write as an uncompressed .npz."""
        with path.open("wb") as file:
            np.savez(
                file,
                time_s=self.time_s,
                demand=self.demand,
                sequence=self.sequence,
                payload_bytes=self.payload_bytes,
                flow=self.flow,
            )

    @classmethod
    def load(cls, path: Path) -> Schedule:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(
                time_s=float_array(arrays["time_s"]),
                demand=int_array(arrays["demand"]),
                sequence=int_array(arrays["sequence"]),
                payload_bytes=int_array(arrays["payload_bytes"]),
                flow=int_array(arrays["flow"]),
            )


def make_schedule(demands: Sequence[TrafficDemand], end_s: float, flows: int, seed: int) -> Schedule:
    """Draw arrival times and sizes of all packets up to ``end_s``; ``flows`` address pairs are used at random.

    Each demand has its own random stream, so adding one leaves the packets of the others as they were.
    """
    times: list[FloatArray] = []
    payloads: list[IntArray] = []
    choices: list[IntArray] = []
    for index, demand in enumerate(demands):
        random = np.random.default_rng([seed, index])
        arrival = _arrival_times(demand, end_s, random)
        times.append(arrival)
        frames = frame_sizes(demand.packet_size, demand.packet_bits_mean / 8, len(arrival), random)
        payloads.append(int_array(frames - FRAME_OVERHEAD_BYTES))
        choices.append(int_array(random.integers(0, flows, len(arrival))))
    counts = [len(arrival) for arrival in times]
    time_s = np.concatenate([np.empty(0), *times])
    order = np.argsort(time_s, kind="stable")
    return Schedule(
        time_s=float_array(time_s[order]),
        demand=int_array(np.repeat(np.arange(len(demands)), counts)[order]),
        sequence=int_array(np.concatenate([np.empty(0, np.int64), *(np.arange(count) for count in counts)])[order]),
        payload_bytes=int_array(np.concatenate([np.empty(0, np.int64), *payloads])[order]),
        flow=int_array(np.concatenate([np.empty(0, np.int64), *choices])[order]),
    )


def frame_sizes(size: PacketSize, mean_bytes: float, count: int, random: np.random.Generator) -> IntArray:
    """Frame sizes in bytes, [count], between what our header needs and what the hosts' MTU allows.

    Exponential sizes are those of the truncated distribution with the wanted mean: the smallest frame plus an
    exponential, cut at the largest frame, its scale corrected so that cutting does not lower the mean.
    """
    mean_bytes = float(np.clip(mean_bytes, MIN_FRAME_BYTES, MAX_FRAME_BYTES))
    if size.model == "exponential":
        drawn = MIN_FRAME_BYTES + random.exponential(_exponential_scale(mean_bytes), count)
    elif size.model == "constant":
        drawn = np.full(count, mean_bytes)
    else:
        sizes, probabilities = size.support
        chances = np.asarray(probabilities) / sum(probabilities)
        drawn = random.choice(np.asarray(sizes) * (mean_bytes / float(chances @ np.asarray(sizes))), count, p=chances)
    return int_array(np.clip(np.rint(drawn), MIN_FRAME_BYTES, MAX_FRAME_BYTES))


def _exponential_scale(mean_bytes: float) -> float:
    """Scale a with E[min(m + Exp(a), M)] = mean, i.e. m + a (1 - exp(-(M - m)/a)) = mean; by bisection."""
    room = MAX_FRAME_BYTES - MIN_FRAME_BYTES
    wanted = mean_bytes - MIN_FRAME_BYTES
    low, high = 1e-6, 1e6
    for _ in range(80):
        middle = (low + high) / 2
        if middle * -np.expm1(-room / middle) < wanted:
            low = middle
        else:
            high = middle
    return low


def _arrival_times(demand: TrafficDemand, end_s: float, random: np.random.Generator) -> FloatArray:
    """Arrivals by inverting the cumulative rate: unit-rate arrivals are mapped through it (Cinlar 1975)."""
    steps = sorted(demand.steps, key=lambda step: step.start_s)
    starts = np.array([step.start_s for step in steps] + [end_s])
    packets_per_s = np.array([step.rate_bps for step in steps]) / demand.packet_bits_mean
    durations = np.maximum(np.diff(np.minimum(starts, end_s)), 0)
    cumulative = np.concatenate([[0.0], np.cumsum(packets_per_s * durations)])
    expected = float(cumulative[-1])
    if expected <= 0:
        return float_array([])
    if demand.arrivals == "cbr":
        unit = np.arange(random.uniform(), expected, 1.0)
    else:
        draws = random.exponential(size=int(expected + 6 * np.sqrt(expected) + 20))
        unit = np.cumsum(draws)
        while unit[-1] < expected:
            unit = np.concatenate([unit, unit[-1] + np.cumsum(random.exponential(size=len(draws)))])
        unit = unit[unit < expected]
    # side="right" skips steps of rate 0, over which the cumulative rate stands still.
    step_of = np.searchsorted(cumulative, unit, side="right") - 1
    return float_array(starts[step_of] + (unit - cumulative[step_of]) / packets_per_s[step_of])


@dataclass(frozen=True)
class HostEntry:
    """Where the traffic processes find a host: its namespace and its addresses."""

    node: str
    process_id: int
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class TrafficJob:
    """What the sender and the receiver process are told: hosts, and ends and mark of every demand."""

    hosts: tuple[HostEntry, ...]
    source: tuple[int, ...]
    target: tuple[int, ...]
    dscp: tuple[int, ...]
    port: int
    schedule_file: str
    added_file: str
    sent_file: str
    received_file: str

    @classmethod
    def for_demands(
        cls, hosts: Sequence[HostEntry], demands: Sequence[TrafficDemand], directory: Path, port: int = 5257
    ) -> TrafficJob:
        """The job of these demands; its files lie in ``directory``."""
        index: Mapping[str, int] = {host.node: position for position, host in enumerate(hosts)}
        return cls(
            hosts=tuple(hosts),
            source=tuple(index[demand.source] for demand in demands),
            target=tuple(index[demand.target] for demand in demands),
            dscp=tuple(demand.dscp for demand in demands),
            port=port,
            schedule_file=str(directory / "schedule.npz"),
            added_file=str(directory / "added.npz"),
            sent_file=str(directory / "sent.bin"),
            received_file=str(directory / "received.bin"),
        )

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> TrafficJob:
        """Read what ``write`` wrote."""
        data: dict[str, Any] = json.loads(path.read_text())
        hosts = tuple(HostEntry(h["node"], h["process_id"], tuple(h["addresses"])) for h in data.pop("hosts"))
        return cls(hosts=hosts, **{name: tuple(v) if isinstance(v, list) else v for name, v in data.items()})
