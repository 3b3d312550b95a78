"""Candidates on the wire: demands whose paths, and nodes whose queue weights, differ from those of the scenario."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gnn_model.service.limits import ServiceLimits
from gnn_model.service.scenario_wire import KnownScenario
from gnn_model.service.v1 import predictor_pb2 as pb
from topology_sync.errors import ScenarioError
from topology_sync.node_json import MAX_WEIGHT
from topology_sync.routing import SHARE_TOLERANCE, PathShare, Routing
from topology_sync.topology import WEIGHTED, Scheduler

Schedulers = tuple[Scheduler, ...]
_NONE: Mapping[int, Sequence[float]] = {}


@dataclass(frozen=True, eq=False)
class Question:
    """One routing of a scenario to be predicted; ``hops`` is the size of the work.

    ``schedulers`` [nodes] None: the scenario's.
    """

    known: KnownScenario
    routing: Routing
    hops: int
    schedulers: Schedulers | None = None


def candidate_message(base: Routing, routing: Routing, weights: Mapping[int, Sequence[float]] = _NONE) -> pb.Candidate:
    """What differs between a routing and that of the scenario, exactly: no rounding of shares.

    ``weights`` are those of the nodes (ids) whose queues get others.
    """
    if len(routing.paths) != len(base.paths):
        raise ScenarioError(
            "routing", f"covers {len(routing.paths)} of {len(base.paths)} demands", "route every demand once"
        )
    return pb.Candidate(
        changes=[
            pb.Change(demand=demand, paths=[pb.Path(links=path.links, share=path.share) for path in mine])
            for demand, (mine, theirs) in enumerate(zip(routing.paths, base.paths, strict=True))
            if mine is not theirs and mine != theirs
        ],
        queue_weights=[pb.QueueWeights(node=node, weights=values) for node, values in weights.items()],
    )


def other_weights(base: Schedulers, schedulers: Schedulers) -> dict[int, tuple[float, ...]] | None:
    """Weights of the nodes (ids) that differ from ``base``; None where more than weights of weighted nodes differs."""
    found: dict[int, tuple[float, ...]] = {}
    for node, (mine, theirs) in enumerate(zip(schedulers, base, strict=True)):
        if mine is theirs or mine == theirs:
            continue
        if replace(theirs, weights=mine.weights) != mine or not _fits(theirs, mine.weights):
            return None
        found[node] = mine.weights
    return found


def read_candidates(
    known: KnownScenario, candidates: Sequence[pb.Candidate], limits: ServiceLimits
) -> tuple[Question, ...]:
    """The routings that a request asks for.  Raises ScenarioError: one line naming the place in the message."""
    topology, traffic = known.scenario.topology, known.scenario.traffic
    if not 1 <= len(candidates) <= limits.candidates:
        raise ScenarioError("candidates", f"has {len(candidates)} entries", f"send 1 to {limits.candidates}")
    values = len(candidates) * (4 * traffic.demand_count + 2 * topology.link_count)
    if len(candidates) > 1 and values > limits.answer_values:
        raise ScenarioError(
            "candidates", f"would make an answer of {values} numbers", f"send fewer (up to {limits.answer_values})"
        )
    return tuple(
        _question(known, candidate, f"candidates[{number}]", limits) for number, candidate in enumerate(candidates)
    )


def _question(known: KnownScenario, candidate: pb.Candidate, place: str, limits: ServiceLimits) -> Question:
    base = known.scenario.routing
    changed: dict[int, tuple[PathShare, ...]] = {}
    hops = known.hops
    for number, change in enumerate(candidate.changes):
        here = f"{place}.changes[{number}]"
        demand = change.demand
        if demand >= len(base.paths):
            raise ScenarioError(f"{here}.demand", f"is {demand}", f"there are {len(base.paths)} demands, from 0 on")
        if demand in changed:
            raise ScenarioError(f"{here}.demand", f"{demand} is changed before", "give all its paths in one change")
        changed[demand] = paths = _paths(known, demand, change.paths, here, limits)
        hops += sum(len(path.links) for path in paths) - sum(len(path.links) for path in base.paths[demand])
    schedulers = _schedulers(known, candidate.queue_weights, place) if candidate.queue_weights else None
    return Question(known, base.with_changes(changed) if changed else base, hops, schedulers)


def _schedulers(known: KnownScenario, entries: Iterable[pb.QueueWeights], place: str) -> Schedulers:
    topology = known.scenario.topology
    changed: dict[int, Scheduler] = {}
    for number, entry in enumerate(entries):
        here, node = f"{place}.queue_weights[{number}]", entry.node
        if node >= topology.node_count:
            raise ScenarioError(f"{here}.node", f"is {node}", f"there are {topology.node_count} nodes, from 0 on")
        if node in changed:
            raise ScenarioError(f"{here}.node", f"{node} is named before", "give each node once")
        present, weights = topology.schedulers[node], tuple(entry.weights)
        if not _fits(present, weights):
            if present.discipline not in WEIGHTED:
                raise ScenarioError(
                    f"{here}.node", f"'{topology.node_names[node]}' is {present.discipline}", "name weighted nodes"
                )
            remedy = f"send {len(present.weights)} numbers above 0"
            raise ScenarioError(f"{here}.weights", "are not one positive number for each queue", remedy)
        changed[node] = replace(present, weights=weights)
    return topology.with_schedulers(changed).schedulers


def _fits(scheduler: Scheduler, weights: Sequence[float]) -> bool:
    """Whether a node may have these weights in place of its own."""
    return (
        scheduler.discipline in WEIGHTED
        and len(weights) == len(scheduler.weights)
        and all(0 < weight <= MAX_WEIGHT for weight in weights)
    )


def _paths(
    known: KnownScenario, demand: int, paths: Sequence[pb.Path], place: str, limits: ServiceLimits
) -> tuple[PathShare, ...]:
    if not 1 <= len(paths) <= limits.paths_per_demand:
        raise ScenarioError(f"{place}.paths", f"has {len(paths)} entries", f"send 1 to {limits.paths_per_demand}")
    traffic = known.scenario.traffic
    ends = int(traffic.source[demand]), int(traffic.target[demand])
    found = tuple(
        PathShare(_links(known, ends, path.links, f"{place}.paths[{number}].links"), path.share)
        for number, path in enumerate(paths)
    )
    for number, path in enumerate(found):
        if not 0 < path.share <= 1 + SHARE_TOLERANCE:
            raise ScenarioError(
                f"{place}.paths[{number}].share", f"is {path.share:g}", "send a share above 0 and up to 1"
            )
    if len(found) > 1 and len({path.links for path in found}) < len(found):
        raise ScenarioError(f"{place}.paths", "has the same path twice", "add up their shares in one")
    total = sum(path.share for path in found)
    if abs(total - 1) > SHARE_TOLERANCE:
        raise ScenarioError(f"{place}.paths", f"shares sum to {total:g}", "make the shares of a demand sum to 1")
    return found


def _links(known: KnownScenario, ends: tuple[int, int], links: Iterable[int], place: str) -> tuple[int, ...]:
    """The links of a path, once they are known to be a loop-free way between the ends."""
    source, target = known.link_source, known.link_target
    path = tuple(links)
    node, passed = ends[0], {ends[0]}
    for number, link in enumerate(path):
        if link >= len(source):
            raise ScenarioError(f"{place}[{number}]", f"is {link}", f"there are {len(source)} links, from 0 on")
        if source[link] != node:
            name = known.scenario.topology.node_names[node]
            raise ScenarioError(f"{place}[{number}]", f"link {link} does not leave '{name}'", "send links in order")
        node = target[link]
        if node in passed:
            raise ScenarioError(f"{place}[{number}]", f"link {link} comes back", "send a path without loops")
        passed.add(node)
    if not path or node != ends[1]:
        names = known.scenario.topology.node_names
        raise ScenarioError(
            place, f"do not lead from '{names[ends[0]]}' to '{names[ends[1]]}'", "send a path between the demand's ends"
        )
    return path
