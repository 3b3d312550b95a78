"""What the network is meant to do, in the terms of switches: the one value from which all rules are compiled.

The controller keeps it on disk, so that after a restart it compiles exactly the rules that are installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from controller.labels import Hop, LabelTable, PathOwner
from topology_sync.errors import InputError, PlanError

FORMAT = "routewright-intent/1"
VERSIONS = 256
LAST_DEMAND = 0xFFFFE  # 20 bits; 0 is static rules, 0xFFFFF protection


@dataclass(frozen=True)
class IntentLink:
    """A directed link between two switch ports; it stays known while it is down."""

    source_dpid: int
    source_port: int
    target_dpid: int
    target_port: int
    up: bool = True

    @property
    def hop(self) -> Hop:
        """What identifies it: the port it leaves by."""
        return Hop(self.source_dpid, self.source_port)


@dataclass(frozen=True)
class IntentHost:
    """A host (``10.0.0.1/32``) or prefix behind a switch port."""

    prefix: str
    mac: str
    dpid: int
    port: int


@dataclass(frozen=True)
class IntentClass:
    """A traffic class and the DSCP values that name it; the one class without any takes all the rest.

    ``queue`` is the one that its packets wait in at every port, None where all classes share one.
    """

    name: str
    dscp: tuple[int, ...] = ()
    queue: int | None = None


@dataclass(frozen=True)
class QueueWeights:
    """How the ports of a switch that lead to links share out their rate among their queues; empty: served in order.

    ``configured`` are the operator's weights of that time: when he writes others, his count again.
    """

    dpid: int
    weights: tuple[float, ...]
    configured: tuple[float, ...]


@dataclass(frozen=True)
class IntentRoute:
    """One labelled explicit path; ``weight`` is its share in the SELECT group when the demand is split."""

    label: int
    version: int
    links: tuple[Hop, ...]
    weight: int = 1


class DemandKey(NamedTuple):
    """What identifies a demand."""

    source_dpid: int
    target_dpid: int
    traffic_class: str


@dataclass(frozen=True)
class IntentDemand:
    """All traffic of one class from one switch to another.  Without routes its packets are counted and dropped.

    ``version`` grows (mod 256) with every change of its paths; a path that stays keeps its own label and version.
    """

    number: int
    source_dpid: int
    target_dpid: int
    traffic_class: str
    version: int = 0
    routes: tuple[IntentRoute, ...] = ()

    @property
    def key(self) -> DemandKey:
        """Ends and class."""
        return DemandKey(self.source_dpid, self.target_dpid, self.traffic_class)


@dataclass(frozen=True)
class IntentBypass:
    """The way around a directed link; one hop is a parallel link, taken without a label (``label`` None)."""

    link: Hop
    label: int | None
    hops: tuple[Hop, ...]


@dataclass(frozen=True)
class ExplicitPath:
    """A path as a plan asks for it: links in order of travel and its integer weight."""

    links: tuple[Hop, ...]
    weight: int = 1


@dataclass(frozen=True)
class NetworkIntent:
    """Switches, links, hosts, classes, demands with their routes, and the bypass of every link.

    ``queue_weights`` has an entry for every switch whose queues we have set up: rules know nothing of it.
    """

    switches: tuple[int, ...] = ()
    links: tuple[IntentLink, ...] = ()
    hosts: tuple[IntentHost, ...] = ()
    classes: tuple[IntentClass, ...] = (IntentClass("default"),)
    demands: tuple[IntentDemand, ...] = ()
    bypasses: tuple[IntentBypass, ...] = ()
    queue_weights: tuple[QueueWeights, ...] = ()

    @cached_property
    def weights_of(self) -> dict[int, tuple[float, ...]]:
        """Weights of queues by datapath id of the switch."""
        return {entry.dpid: entry.weights for entry in self.queue_weights}

    @cached_property
    def queue_of(self) -> dict[str, int]:
        """Queues by class name; empty where all classes share one."""
        return {entry.name: entry.queue for entry in self.classes if entry.queue is not None}

    @cached_property
    def link_of(self) -> dict[Hop, IntentLink]:
        """Links by the port they leave by."""
        return {link.hop: link for link in self.links}

    @cached_property
    def demand_of(self) -> dict[DemandKey, IntentDemand]:
        """Demands by ends and class."""
        return {demand.key: demand for demand in self.demands}

    @cached_property
    def bypass_of(self) -> dict[Hop, IntentBypass]:
        """Bypasses by the link that they go around."""
        return {bypass.link: bypass for bypass in self.bypasses}

    def labels(self) -> frozenset[int]:
        """Every label in use."""
        paths = {route.label for demand in self.demands for route in demand.routes}
        return frozenset(paths | {bypass.label for bypass in self.bypasses if bypass.label is not None})

    def check(self) -> None:
        """Raise PlanError unless routes and bypasses are joined, loop-free ways over known links between known ends."""
        if sum(not entry.dscp for entry in self.classes) > 1:
            raise PlanError("classes", "more than one has no DSCP value", "name DSCP values for all but one")
        for demand in self.demands:
            for route in demand.routes:
                self.check_path(route.links, demand.source_dpid, demand.target_dpid, f"demand {demand.number}")
        for bypass in self.bypasses:
            if bypass.link in self.link_of:
                around = self.link_of[bypass.link]
                place = f"bypass of {bypass.link.dpid}:{bypass.link.port}"
                self.check_path(bypass.hops, around.source_dpid, around.target_dpid, place)

    def check_path(self, links: Sequence[Hop], source_dpid: int, target_dpid: int, place: str) -> None:
        """Raise PlanError, naming ``place``, unless ``links`` lead from source to target without a loop."""
        at, seen = source_dpid, {source_dpid}
        for hop in links:
            link = self.link_of.get(hop)
            if link is None:
                raise PlanError(place, f"uses link {hop[0]}:{hop[1]}, which is not known", "route over known links")
            if link.source_dpid != at or link.target_dpid in seen:
                raise PlanError(place, "is no joined, loop-free path", "give the links in order of travel")
            at = link.target_dpid
            seen.add(at)
        if not links or at != target_dpid:
            raise PlanError(place, f"ends at switch {at} instead of {target_dpid}", "give a path between its ends")

    def to_json(self) -> dict[str, Any]:
        """Plain data that ``from_json`` takes."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NetworkIntent:
        """Read what ``to_json`` gave, also after a pass through JSON.  Raises InputError when it is something else."""
        try:
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']!r}")
            return cls(
                switches=tuple(data["switches"]),
                links=tuple(IntentLink(**entry) for entry in data["links"]),
                hosts=tuple(IntentHost(**entry) for entry in data["hosts"]),
                classes=tuple(
                    IntentClass(entry["name"], tuple(entry["dscp"]), entry.get("queue")) for entry in data["classes"]
                ),
                demands=tuple(_demand_from_json(entry) for entry in data["demands"]),
                bypasses=tuple(
                    IntentBypass(Hop(*entry["link"]), entry["label"], _hops(entry["hops"]))
                    for entry in data["bypasses"]
                ),
                queue_weights=tuple(
                    QueueWeights(entry["dpid"], tuple(entry["weights"]), tuple(entry["configured"]))
                    for entry in data.get("queue_weights", ())
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("intent", f"is no network intent ({error!r})", "restore the file or remove it") from error


def _demand_from_json(entry: Mapping[str, Any]) -> IntentDemand:
    routes = tuple(IntentRoute(**{**route, "links": _hops(route["links"])}) for route in entry["routes"])
    return IntentDemand(**{**entry, "routes": routes})


def _hops(entries: Iterable[Sequence[int]]) -> tuple[Hop, ...]:
    return tuple(Hop(*entry) for entry in entries)


def with_plan(
    intent: NetworkIntent, labels: LabelTable, routes: Mapping[DemandKey, Sequence[ExplicitPath]]
) -> tuple[NetworkIntent, LabelTable]:
    """The next intent when the demands named get these paths; a demand that is not known yet is added.

    A path that stays keeps its label and version (its weight may change); a new one gets a new label and the demand's
    next version.  A demand whose paths stay as they are keeps its version.  Raises PlanError for a path that is none.

    Labels that fall out of use stay held: give them back with ``labels.keep_only(intent.labels())`` once no switch has
    rules of theirs, which is also how to take back the new ones when the change failed.
    """
    demands = dict(intent.demand_of)
    next_number = max((demand.number for demand in intent.demands), default=0) + 1
    requests: dict[DemandKey, tuple[IntentDemand, int, list[tuple[ExplicitPath, IntentRoute | None]]]] = {}
    for key, paths in routes.items():
        key = DemandKey(*key)
        demand = demands.get(key)
        if demand is None:
            _check_new(intent, key, next_number)
            demand = IntentDemand(next_number, *key)
            next_number += 1
        place = f"demand {key.source_dpid}->{key.target_dpid} {key.traffic_class}"
        for path in paths:
            intent.check_path(path.links, key.source_dpid, key.target_dpid, place)
            if path.weight < 1:
                raise PlanError(place, f"a path has weight {path.weight}", "give whole weights of 1 or more")
        if len({path.links for path in paths}) != len(paths):
            raise PlanError(place, "names a path twice", "give each path once, with all of its share")
        present = {route.links: route for route in demand.routes}
        pairs = [(path, present.get(tuple(path.links))) for path in paths]
        same = len(paths) == len(present) and all(route is not None for _, route in pairs)
        version = demand.version if same else (demand.version + 1) % VERSIONS
        requests[key] = (demand, version, pairs)

    owners = [
        PathOwner(demand.number, version, _hops(path.links))
        for demand, version, pairs in requests.values()
        for path, route in pairs
        if route is None
    ]
    labels, granted = labels.allocate(owners)
    label_of = dict(zip(owners, granted, strict=True))
    for key, (demand, version, pairs) in requests.items():
        demands[key] = replace(
            demand,
            version=version,
            routes=tuple(
                replace(route, weight=path.weight)
                if route is not None
                else IntentRoute(
                    label_of[PathOwner(demand.number, version, _hops(path.links))],
                    version,
                    _hops(path.links),
                    path.weight,
                )
                for path, route in pairs
            ),
        )
    return replace(intent, demands=tuple(demands.values())), labels


def _check_new(intent: NetworkIntent, key: DemandKey, number: int) -> None:
    place = f"demand {key.source_dpid}->{key.target_dpid} {key.traffic_class}"
    if key.source_dpid == key.target_dpid or not {key.source_dpid, key.target_dpid} <= set(intent.switches):
        raise PlanError(place, "does not join two known switches", "name two different switches that are connected")
    if all(entry.name != key.traffic_class for entry in intent.classes):
        raise PlanError(place, "has a class that is not known", "use a class of the configuration")
    if number > LAST_DEMAND:
        raise PlanError(place, "is one demand too many", f"keep to {LAST_DEMAND} demands")


def with_queue_weights(
    intent: NetworkIntent, weights: Mapping[int, tuple[float, ...]], configured: tuple[float, ...]
) -> NetworkIntent:
    """The next intent when the queues of these switches (by datapath id) get these weights."""
    entries = {entry.dpid: entry for entry in intent.queue_weights}
    entries |= {dpid: QueueWeights(dpid, tuple(chosen), configured) for dpid, chosen in weights.items()}
    return replace(intent, queue_weights=tuple(entries[dpid] for dpid in sorted(entries)))


def with_topology(intent: NetworkIntent, switches: Iterable[int], links: Iterable[IntentLink]) -> NetworkIntent:
    """The next intent on another topology: what needs a switch or link that is gone goes with it.

    A link that is merely down belongs into ``links`` (``up`` False) and takes nothing away.  A demand that lost all its
    routes stays, and its packets are dropped and counted until a plan gives it new ones.
    """
    dpids = set(switches)
    known = {link.hop: link for link in links if {link.source_dpid, link.target_dpid} <= dpids}

    def is_kept(hops: Iterable[Hop]) -> bool:
        """Whether all these links still lead where they did."""
        return all(
            hop in known and hop in intent.link_of and known[hop].target_dpid == intent.link_of[hop].target_dpid
            for hop in hops
        )

    demands = []
    for demand in intent.demands:
        if demand.source_dpid in dpids and demand.target_dpid in dpids:
            routes = tuple(route for route in demand.routes if is_kept(route.links))
            lost = len(routes) < len(demand.routes)
            version = (demand.version + 1) % VERSIONS if lost else demand.version
            demands.append(replace(demand, version=version, routes=routes))
    return replace(
        intent,
        switches=tuple(sorted(dpids)),
        links=tuple(sorted(known.values(), key=lambda link: link.hop)),
        hosts=tuple(host for host in intent.hosts if host.dpid in dpids),
        demands=tuple(demands),
        bypasses=tuple(bypass for bypass in intent.bypasses if is_kept((bypass.link, *bypass.hops))),
    )
