"""Prometheus metrics of the optimizer, all prefixed ``routewright_``, on a registry of their own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Everything the optimizer exports.  Labels are bounded (classes, goals, nodes, results), never demands."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.sla_violation = Gauge(
            "routewright_sla_violation", "Demands that miss a goal as measured", ["class", "goal"], registry=registry
        )
        self.violation_score = Gauge("routewright_sla_violation_score", "Weighted SLA violation", registry=registry)
        self.max_utilisation = Gauge(
            "routewright_max_link_utilization_ratio",
            "Offered load over capacity of the fullest link",
            registry=registry,
        )
        self.link_utilisation = Gauge(
            "routewright_link_utilization_ratio",
            "Carried load over capacity as measured",
            ["src", "dst"],
            registry=registry,
        )
        self.queue_weight = Gauge(
            "routewright_queue_weight_ratio",
            "Weight of the queue of a class over the weights of all classes",
            ["node", "class"],
            registry=registry,
        )
        self.topology_version = Gauge("routewright_topology_version", "Version of the topology seen", registry=registry)
        self.routing_version = Gauge("routewright_routing_version", "Version of the routing seen", registry=registry)
        self.controller_up = Gauge("routewright_controller_up", "1 while the controller answers", registry=registry)
        self.predictor_up = Gauge("routewright_predictor_up", "1 while the predictor can be asked", registry=registry)
        self.state = Gauge("routewright_loop_state", "1 for the state the loop is in", ["state"], registry=registry)
        self.decisions = Counter(
            "routewright_decisions", "Decisions by trigger and how they ended", ["trigger", "result"], registry=registry
        )
        self.plan_seconds = Histogram(
            "routewright_rule_install_seconds", "Time of a transaction, start to end", registry=registry
        )
        self.search_seconds = Histogram("routewright_search_seconds", "Time of a search", registry=registry)
        self.loop_seconds = Histogram(
            "routewright_loop_seconds",
            "From goal first seen violated to new routing in use",
            buckets=(0.5, 1, 2, 5, 7.5, 10, 15, 20, 30, 60, 120),
            registry=registry,
        )
        self.prediction_error = Gauge(
            "routewright_prediction_error_ratio",
            "Median relative error of predicted mean delays against measured ones",
            registry=registry,
        )
        self._states: set[str] = set()

    def show_state(self, name: str) -> None:
        """Set the one state that the loop is in."""
        self._states.add(name)
        for known in self._states:
            self.state.labels(known).set(1 if known == name else 0)

    def render(self) -> bytes:
        """Prometheus text."""
        return generate_latest(self.registry)
