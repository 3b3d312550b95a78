"""A node and how it schedules its queues as JSON: one form for scenarios and for plans."""

from __future__ import annotations

from typing import Any

from topology_sync.strict_json import JsonObject, shown
from topology_sync.topology import DISCIPLINES, SCHEDULER_VARIANTS, WEIGHTED, Scheduler

NODE_KEYS = ("id", "scheduler", "weights", "class_queues", "variant")
MAX_QUEUES = 64
MAX_WEIGHT = 1e9


def scheduler_from_json(node: JsonObject) -> Scheduler:
    """The scheduler that a node's entry names, fifo where it names none.  Raises the entry's error."""
    discipline = node.choice("scheduler", DISCIPLINES, default="fifo")
    weights = node.numbers("weights", 0, MAX_WEIGHT, above=True) if node.has("weights") else ()
    queues: tuple[tuple[str, int], ...] = ()
    if node.has("class_queues"):
        raw = node.need("class_queues")
        entries = JsonObject(raw, node.place_of("class_queues"), tuple(raw) if isinstance(raw, dict) else ())
        queues = tuple((name, entries.integer(name, 0, MAX_QUEUES - 1)) for name in entries.data)
    if len(weights) > MAX_QUEUES:
        node.fail("weights", f"has {len(weights)} queues", f"give at most {MAX_QUEUES}")
    if discipline in WEIGHTED:
        if not weights:
            node.fail("weights", "is missing", f"{discipline} needs one weight per queue")
        beyond = next((name for name, queue in queues if queue >= len(weights)), None)
        if beyond is not None:
            remedy = f"there are {len(weights)} weights, so give 0 to {len(weights) - 1}"
            node.fail("class_queues", f"class {shown(beyond)} has no such queue", remedy)
    return Scheduler(discipline, weights, queues, node.choice("variant", SCHEDULER_VARIANTS, default="standard"))


def node_to_json(name: str, scheduler: Scheduler) -> dict[str, Any]:
    """The entry of a node, defaults left out where they say nothing."""
    node: dict[str, Any] = {"id": name}
    if scheduler.discipline != "fifo":
        node["scheduler"] = scheduler.discipline
    if scheduler.weights:
        node["weights"] = list(scheduler.weights)
    if scheduler.class_queues:
        node["class_queues"] = dict(scheduler.class_queues)
    if scheduler.variant != "standard":
        node["variant"] = scheduler.variant
    return node
