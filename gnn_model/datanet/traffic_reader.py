"""One line of ``traffic.txt``: what every pair of nodes sends."""

from __future__ import annotations

from dataclasses import dataclass

from topology_sync.errors import ScenarioError
from topology_sync.traffic import Arrivals, PacketSize

# Parameters of each time distribution after "model, EqLambda", None where this version has no such arrivals.
_TIME_NAMES = {2: "uniform", 3: "normal", 5: "PPBP", 6: "trace"}
_SIZE_NAMES = {1: "uniform", 4: "trace"}


@dataclass(frozen=True)
class DatanetFlow:
    """One flow as offered: ``pair`` is source * nodes + target, ``number`` counts the flows of a pair."""

    pair: int
    number: int
    tos: int
    rate_bps: float
    packet_bits_mean: float
    packet_size: PacketSize
    arrivals: Arrivals


def read_traffic(place: str, line: str, node_count: int) -> list[DatanetFlow]:
    """Flows of one sample in row-major order of pairs.  Raises ScenarioError naming ``place`` and the pair."""
    entries = line.partition("|")[2].split(";")
    if len(entries) < node_count**2:
        raise ScenarioError(place, f"has {len(entries)} entries for {node_count} nodes", "give one entry per pair")
    flows: list[DatanetFlow] = []
    known_sizes: dict[tuple[str, ...], PacketSize] = {}
    known_arrivals: dict[tuple[str, ...], Arrivals] = {}
    for pair, entry in enumerate(entries[: node_count**2]):
        if entry.startswith("-1"):
            continue
        for number, text in enumerate(entry.split(":")):
            if text.startswith("-1") or not text.strip():
                continue
            try:
                flow = _flow(pair, number, text.split(","), known_sizes, known_arrivals)
            except (ValueError, IndexError):
                raise ScenarioError(f"{place}: entry {pair}", f"'{text[:60]}' is no flow", "check it") from None
            except _UnknownModelError as error:
                raise ScenarioError(
                    f"{place}: entry {pair}", f"has {error}", "this reader knows Poisson, CBR, ON-OFF, autosimilar"
                ) from None
            if flow.rate_bps > 0:
                flows.append(flow)
    return flows


class _UnknownModelError(Exception):
    pass


def _flow(
    pair: int,
    number: int,
    fields: list[str],
    known_sizes: dict[tuple[str, ...], PacketSize],
    known_arrivals: dict[tuple[str, ...], Arrivals],
) -> DatanetFlow:
    rate = float(fields[1])
    model = int(fields[0])
    if model == 7:
        arrivals, position = _autosimilar(fields), 5
    elif model in (0, 1, 4):
        width = {0: 2, 1: 1, 4: 4}[model]
        key = (fields[0], *fields[3 : 2 + width])
        if key not in known_arrivals:
            known_arrivals[key] = _arrivals(model, fields)
        arrivals, position = known_arrivals[key], 2 + width
    else:
        raise _UnknownModelError(f"{_TIME_NAMES.get(model, 'unknown')} arrivals (time distribution {model})")
    kind, mean = int(fields[position]), float(fields[position + 1])
    width = {0: 0, 2: 2, 3: 1 + 2 * int(fields[position + 2]) if kind == 3 else 0}.get(kind, -1)
    if width < 0:
        raise _UnknownModelError(f"{_SIZE_NAMES.get(kind, 'unknown')} packet sizes (size distribution {kind})")
    end = position + 2 + width
    size_key = tuple(fields[position:end])
    if size_key not in known_sizes:
        known_sizes[size_key] = _packet_size(kind, fields[position + 2 : end])
    size = known_sizes[size_key]
    if size.model == "discrete":  # the mean as written is rounded
        mean = sum(bits * chance for bits, chance in zip(size.sizes, size.probabilities, strict=True))
    tos = int(fields[end])
    if not mean > 0 or tos < 0 or not 0 <= rate < float("inf"):
        raise ValueError
    return DatanetFlow(pair, number, tos, rate, mean, size, arrivals)


def _arrivals(model: int, fields: list[str]) -> Arrivals:
    if model == 0:
        return Arrivals("poisson")
    if model == 1:
        return Arrivals("cbr")
    off, on = float(fields[3]), float(fields[4])
    return Arrivals("onoff", on_s=on, off_s=off)


def _autosimilar(fields: list[str]) -> Arrivals:
    if fields[2] == "generate_autosimilar":
        return Arrivals("autocorrelated", correlation=float(fields[3]))
    return Arrivals("modulated", sigma=float(fields[3]))


def _packet_size(kind: int, parameters: list[str]) -> PacketSize:
    """0: exponential, 2: two sizes with equal chances, 3: listed sizes."""
    if kind == 0:
        return PacketSize("exponential")
    if kind == 2:
        return PacketSize("discrete", tuple(float(size) for size in parameters), (0.5, 0.5))
    count = int(parameters[0])
    values = [float(value) for value in parameters[1 : 1 + 2 * count]]
    total = sum(values[1::2])
    if len(values) != 2 * count or abs(total - 1) > 0.05:
        raise ValueError
    return PacketSize("discrete", tuple(values[::2]), tuple(chance / total for chance in values[1::2]))
