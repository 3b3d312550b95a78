"""What the controller counts, for Prometheus and for tests.

Label values are bounded: kinds and error types, never addresses.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """All metrics of one controller process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"routewright_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"routewright_{name}", text, registry=self.registry)

        self.flow_mods = counter("flow_mods", "Flow modification messages sent to switches")
        self.group_mods = counter("group_mods", "Group modification messages sent to switches")
        self.queue_changes = counter("queue_changes", "Queues of ports that were set up or given other rates")
        self.openflow_errors = counter("openflow_errors", "OpenFlow error messages received, by error type", "type")
        self.packet_ins = counter("packet_ins", "Packets that switches sent up, by what they were", "kind")
        self.packets_dropped = counter("packets_dropped", "Packets the controller gave up, by reason", "reason")
        self.rules_audited = counter("rules_audited", "Rules that an audit compared with what they should be")
        self.rules_put_right = counter("rules_put_right", "Rules that an audit found missing, changed or unasked for")
        self.loop_restarts = counter("loop_restarts", "Loops that died or hung and were started again", "loop")
        self.transactions = counter("transactions", "Transactions, by outcome", "result")
        self.switches_connected = gauge("switches_connected", "Switches with a live OpenFlow channel")
        self.links_up = gauge("links_up", "Directed links that are usable now")
        self.hosts_known = gauge("hosts_known", "Hosts whose place is known")
        self.demands = gauge("demands", "Demands that have a route")
        self.topology_version = gauge("topology_version", "Grows with every change of the network")
        self.routing_version = gauge("routing_version", "Grows with every committed transaction")
        self.largest_stall = gauge("largest_stall_seconds", "Longest time in which no greenlet ran (last minute)")
        self.transaction_seconds = Histogram(
            "routewright_transaction_seconds",
            "Time from start to end of a transaction",
            buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
            registry=self.registry,
        )

    def value(self, name: str) -> int:
        """The present value of a count without labels."""
        return int(self.registry.get_sample_value(f"routewright_{name}") or 0)

    def text(self) -> bytes:
        """Prometheus text exposition."""
        return generate_latest(self.registry)
