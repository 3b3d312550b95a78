"""Drawing what is sent: demands, how their packets arrive and how large they are."""

from __future__ import annotations

import math

import numpy as np

from gnn_model.dataset.recipe import MIXED, DatasetRecipe, Range
from topology_sync.topology import Topology
from topology_sync.traffic import ARRIVAL_MODELS, SIZE_MODELS, Arrivals, PacketSize, TrafficMatrix
from topology_sync.values import FloatArray, IntArray, float_array, int_array

PACKET_BITS = 1000.0
CLASS_NAMES = ("c0", "c1", "c2")


def log_uniform(random: np.random.Generator, limits: Range) -> float:
    """A number whose logarithm is uniform."""
    return math.exp(random.uniform(math.log(limits[0]), math.log(limits[1])))


def draw_pairs(topology: Topology, recipe: DatasetRecipe, random: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Ends of the demands, [demands] each: all pairs, or a random part of them, at most ``recipe.demands``."""
    nodes = topology.node_count
    pairs = np.array([(a, b) for a in range(nodes) for b in range(nodes) if a != b], dtype=np.int64)
    wanted = (
        len(pairs) if random.random() < 0.5 else max(int(len(pairs) * random.uniform(0.1, 1.0)), min(len(pairs), 4))
    )
    wanted = min(wanted, recipe.demands)
    chosen = np.sort(random.choice(len(pairs), wanted, replace=False))
    return pairs[chosen, 0], pairs[chosen, 1]


def draw_rates(source: IntArray, target: IntArray, nodes: int, random: np.random.Generator) -> FloatArray:
    """Relative rates, [demands]: even, or as of a gravity model with exponential masses (Roughan 2005)."""
    if random.random() < 0.5:
        return random.uniform(0.1, 1.0, len(source))
    out, into = random.exponential(1.0, nodes) + 0.05, random.exponential(1.0, nodes) + 0.05
    result: FloatArray = out[source] * into[target]
    return np.maximum(result, 0.02 * float(result.max(initial=0.0)))


def draw_classes(demands: int, recipe: DatasetRecipe, random: np.random.Generator) -> IntArray:
    """Class of each demand, [demands]: of as many classes as drawn, with uneven parts."""
    count = int(random.integers(recipe.classes[0], recipe.classes[1] + 1))
    parts = random.dirichlet(np.full(count, 2.0))
    return int_array(random.choice(count, demands, p=parts))


def draw_traffic(
    topology: Topology, recipe: DatasetRecipe, random: np.random.Generator
) -> tuple[TrafficMatrix, str, str]:
    """Traffic at relative rates of about 1 packet per second, and the names of its arrivals and sizes."""
    source, target = draw_pairs(topology, recipe, random)
    demands = len(source)
    rate = draw_rates(source, target, topology.node_count, random)
    bits = np.full(demands, PACKET_BITS)
    if random.random() < 0.3:
        bits = PACKET_BITS * np.exp(random.normal(0.0, 0.5, demands))
    traffic_class = draw_classes(demands, recipe, random)
    arrivals_name, sizes_name = str(random.choice(list(recipe.arrivals))), str(random.choice(list(recipe.sizes)))
    classes = int(traffic_class.max(initial=0)) + 1
    traffic = TrafficMatrix(
        class_names=CLASS_NAMES[:classes],
        source=int_array(source),
        target=int_array(target),
        traffic_class=traffic_class,
        rate_bps=float_array(rate / float(rate.mean()) * PACKET_BITS),
        packet_bits_mean=float_array(bits),
        packet_size=_sizes(sizes_name, demands, random),
        arrivals=(Arrivals(),) * demands,
    )
    return traffic, arrivals_name, sizes_name


def draw_arrivals(
    name: str, packets_per_s: FloatArray, recipe: DatasetRecipe, random: np.random.Generator
) -> tuple[Arrivals, ...]:
    """How the packets of each demand arrive; periods are long or short against the demand's own spacing."""
    models = tuple(model for model in recipe.arrivals if model != MIXED)
    if name == MIXED and len(models) < 2:
        models = ARRIVAL_MODELS
    # In half of the samples all demands share their parameters, as the published data sets have it.
    shared = bool(random.random() < 0.5)
    usual = float(np.median(packets_per_s)) if len(packets_per_s) else 1.0
    drawn: dict[str, Arrivals] = {}
    result = []
    for rate in packets_per_s:
        model = str(random.choice(list(models))) if name == MIXED else name
        if not shared:
            result.append(_arrivals(model, float(rate), recipe, random))
            continue
        if model not in drawn:
            drawn[model] = _arrivals(model, usual, recipe, random)
        result.append(drawn[model])
    return tuple(result)


def _arrivals(model: str, packets_per_s: float, recipe: DatasetRecipe, random: np.random.Generator) -> Arrivals:
    if model == "onoff":
        part_on = random.uniform(0.15, 0.85)
        on_s = log_uniform(random, recipe.burst_packets) * part_on / packets_per_s
        return Arrivals("onoff", on_s=on_s, off_s=on_s * (1 - part_on) / part_on)
    if model == "autocorrelated":
        return Arrivals("autocorrelated", correlation=random.uniform(0.1, 0.95))
    if model == "modulated":
        return Arrivals("modulated", correlation=random.uniform(0.1, 0.95), sigma=random.uniform(0.2, 0.9))
    return Arrivals("cbr" if model == "cbr" else "poisson")


def _sizes(name: str, demands: int, random: np.random.Generator) -> tuple[PacketSize, ...]:
    if name != MIXED:
        return (_size(name, random),) * demands
    choices = [_size(model, random) for model in SIZE_MODELS]
    return tuple(choices[index] for index in random.integers(0, len(choices), demands))


def _size(model: str, random: np.random.Generator) -> PacketSize:
    if model != "discrete":
        return PacketSize("exponential" if model == "exponential" else "constant" if model == "constant" else "bimodal")
    count = int(random.integers(2, 6))
    sizes = np.round(PACKET_BITS * np.exp(random.uniform(-1.5, 1.0, count)))
    chances = random.dirichlet(np.full(count, 2.0))
    chances[-1] = 1 - chances[:-1].sum()
    return PacketSize("discrete", tuple(float(size) for size in sizes), tuple(float(chance) for chance in chances))
