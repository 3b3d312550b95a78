"""Offered traffic: demands between nodes, how their packets arrive and how large they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from topology_sync.values import ArrayValue, FloatArray, IntArray, float_array, int_array

ArrivalModel = Literal["poisson", "cbr", "onoff", "autocorrelated", "modulated"]
ARRIVAL_MODELS: tuple[ArrivalModel, ...] = ("poisson", "cbr", "onoff", "autocorrelated", "modulated")
SizeModel = Literal["exponential", "constant", "bimodal", "discrete"]
SIZE_MODELS: tuple[SizeModel, ...] = ("exponential", "constant", "bimodal", "discrete")
BIMODAL_BYTES = (37, 213)  # equal probability, scaled to the demand's mean
DEFAULT_CLASS = "default"
DEFAULT_PACKET_BITS = 8000.0


@dataclass(frozen=True)
class Arrivals:
    """How packets arrive; the mean rate is the demand's own.

    ``on_s``/``off_s`` are the means of the exponential periods of ``onoff`` (Poisson while on).  ``correlation`` is the
    lag-one coefficient of the Gaussian AR(1) behind ``autocorrelated`` and ``modulated``; ``sigma`` the standard
    deviation of the logarithm of the interarrival factor of ``modulated``.
    """

    model: ArrivalModel = "poisson"
    on_s: float = 5.0
    off_s: float = 5.0
    correlation: float = 0.9
    sigma: float = 0.5


@dataclass(frozen=True)
class PacketSize:
    """Distribution of packet sizes relative to the demand's mean.

    ``discrete`` gives ``sizes`` (any unit, only ratios count) and ``probabilities`` (summing to 1).
    """

    model: SizeModel = "exponential"
    sizes: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()

    @cached_property
    def second_moment_ratio(self) -> float:
        """E[size^2] / E[size]^2: 1 for constant, 2 for exponential sizes."""
        if self.model == "constant":
            return 1.0
        if self.model == "exponential":
            return 2.0
        sizes, probabilities = self.support
        mean = sum(size * chance for size, chance in zip(sizes, probabilities, strict=True))
        return sum(size * size * chance for size, chance in zip(sizes, probabilities, strict=True)) / mean**2

    @property
    def support(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Sizes (in their own unit) and probabilities of ``bimodal`` and ``discrete``."""
        if self.model == "bimodal":
            return tuple(float(size) for size in BIMODAL_BYTES), (0.5, 0.5)
        return self.sizes, self.probabilities


@dataclass(frozen=True)
class Demand:
    """One demand as written at the edge: all traffic of one class from one node to another, as offered."""

    source: str
    target: str
    rate_bps: float
    traffic_class: str = DEFAULT_CLASS
    packet_bits_mean: float = DEFAULT_PACKET_BITS
    packet_size: PacketSize = PacketSize()
    arrivals: Arrivals = Arrivals()

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies the demand: source, target and class by name."""
        return self.source, self.target, self.traffic_class


@dataclass(frozen=True, eq=False)
class TrafficMatrix(ArrayValue):
    """Offered traffic by dense demand id; (source, target, class) is unique.

    Shapes: ``source``, ``target`` (node ids), ``traffic_class`` (index into ``class_names``), ``rate_bps`` (long-run
    mean, offered) and ``packet_bits_mean``, ``packet_size``, ``arrivals`` [demands].
    """

    class_names: tuple[str, ...]
    source: IntArray
    target: IntArray
    traffic_class: IntArray
    rate_bps: FloatArray
    packet_bits_mean: FloatArray
    packet_size: tuple[PacketSize, ...] = field(default=())
    arrivals: tuple[Arrivals, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.packet_size:
            object.__setattr__(self, "packet_size", (PacketSize(),) * len(self.source))
        if not self.arrivals:
            object.__setattr__(self, "arrivals", (Arrivals(),) * len(self.source))

    @classmethod
    def from_demands(
        cls, demands: Iterable[Demand], node_index: dict[str, int], class_names: Iterable[str] = ()
    ) -> TrafficMatrix:
        """Build from demands that name their ends; classes beyond ``class_names`` are added in order of appearance.

        The caller has checked names and numbers (``scenario_json`` does, with places).
        """
        demands = tuple(demands)
        names = list(dict.fromkeys([*class_names, *(demand.traffic_class for demand in demands)]))
        class_index = {name: position for position, name in enumerate(names)}
        return cls(
            class_names=tuple(names),
            source=int_array([node_index[demand.source] for demand in demands]),
            target=int_array([node_index[demand.target] for demand in demands]),
            traffic_class=int_array([class_index[demand.traffic_class] for demand in demands]),
            rate_bps=float_array([demand.rate_bps for demand in demands]),
            packet_bits_mean=float_array([demand.packet_bits_mean for demand in demands]),
            packet_size=tuple(demand.packet_size for demand in demands),
            arrivals=tuple(demand.arrivals for demand in demands),
        )

    @property
    def demand_count(self) -> int:
        """Number of demands."""
        return len(self.source)

    @cached_property
    def second_moment_ratio(self) -> FloatArray:
        """E[size^2] / E[size]^2 per demand, [demands]."""
        return float_array([size.second_moment_ratio for size in self.packet_size])

    @property
    def packets_per_s(self) -> FloatArray:
        """Offered packet rate per demand, [demands]."""
        return self.rate_bps / self.packet_bits_mean

    def class_name(self, demand: int) -> str:
        """Class of a demand by name."""
        return self.class_names[int(self.traffic_class[demand])]

    def with_rates(self, rate_bps: FloatArray) -> TrafficMatrix:
        """The same demands at other rates, [demands] in bit/s."""
        return TrafficMatrix(
            self.class_names,
            self.source,
            self.target,
            self.traffic_class,
            float_array(rate_bps),
            self.packet_bits_mean,
            self.packet_size,
            self.arrivals,
        )
