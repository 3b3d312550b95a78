"""Sets up queues on the ports of links, keeps them as they should be, and changes their weights for transactions.

What is there is read first, and only the difference is sent; after a restart in which nothing changed that is nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from ryu.lib import hub

from controller.intent import NetworkIntent, with_queue_weights
from controller.journal import Journal
from controller.labels import Hop
from controller.link_facts import Names
from controller.metrics import Metrics
from controller.ovsdb import OvsdbConnection
from controller.queue_rows import (
    READ_OPERATIONS,
    TAKEN_OPERATIONS,
    Operation,
    PortQueues,
    asked_for,
    found_ports,
    is_taken,
    port_queues,
    queue_changes,
)
from controller.settings import ControllerSettings
from controller.switches import Switches
from controller.transactions import Transactions
from topology_sync.addresses import split_ovsdb
from topology_sync.class_queues import ClassQueues
from topology_sync.errors import TransactionError, UnavailableError
from topology_sync.topology import Link

LOOK_S = 0.5
RETRY_S = 5.0
UPKEEP_TIMEOUT_S = 5.0
TAKEN_PAUSE_S = 0.02


class Database(Protocol):
    """An open connection to an OVSDB."""

    def transact(self, operations: Any) -> list[dict[str, Any]]: ...


class SwitchQueues:
    """``step`` is its loop; ``set_weights`` is called by transactions.

    ``open_database`` opens the one at a remote, for so many seconds.
    """

    def __init__(
        self,
        settings: ControllerSettings,
        names: Names,
        switches: Switches,
        transactions: Transactions,
        links: Callable[[], Mapping[Hop, Link]],
        metrics: Metrics,
        journal: Journal,
        open_database: Callable[[str, float], Any] = OvsdbConnection,
    ) -> None:
        self._queues = settings.queues
        self._ovsdb = None if settings.ovsdb is None else split_ovsdb(settings.ovsdb, "ovsdb")
        self._audit_period_s = settings.audit_period_s
        self._names = names
        self._switches = switches
        self._transactions = transactions
        self._links = links
        self._metrics = metrics
        self._journal = journal
        self._open = open_database
        self._lock = hub.Semaphore(1)
        self._asked: dict[int, tuple[float, ...]] = {}
        """Weights by datapath id that a transaction has set, or is setting, until its intent is stored."""
        self._known: tuple[Any, Any, dict[int, dict[Hop, PortQueues]]] = (None, None, {})
        self._in_line: dict[int, tuple[Any, float]] = {}
        self._next_try_s: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def step(self) -> float:
        """Bring in line what is not, and look again at what was in line an audit period ago."""
        if self._queues is None:
            return self._audit_period_s
        if self._ovsdb is None:
            self._say("ovsdb", "queues.ovsdb is not set: weights are not supported, switches serve queues as they are")
            return self._audit_period_s
        self._forget_stored()
        now_s = time.monotonic()
        due: dict[str, list[int]] = {}
        for dpid in sorted(self._switches.rules):
            remote = self._remote(dpid)
            if remote is not None and self._next_try_s.get(remote, 0.0) <= now_s and self._is_due(dpid, now_s):
                due.setdefault(remote, []).append(dpid)
        for remote, dpids in due.items():
            self._keep(self._queues, remote, dpids)
        return LOOK_S

    def set_weights(self, weights: Mapping[int, tuple[float, ...]], timeout_s: float) -> int:
        """Give the queues of these switches other weights, all or none; how many queues were changed.

        Raises TransactionError in one line when it failed; what was changed has then been put back, or is by ``step``.
        """
        groups: dict[str, list[int]] = {}
        for dpid in sorted(weights):
            remote = self._remote(dpid)
            if remote is None:
                raise TransactionError(f"the queues of {self._names.name_of(dpid)} cannot be reached now")
            groups.setdefault(remote, []).append(dpid)
        with self._lock:
            self._asked = {**self._asked, **weights}
            changed = 0
            try:
                for remote, dpids in groups.items():
                    changed += self._bring_in_line(remote, dpids, timeout_s)
            except UnavailableError as error:
                self._asked = {dpid: chosen for dpid, chosen in self._asked.items() if dpid not in weights}
                for dpid in weights:
                    self._in_line.pop(dpid, None)
                for remote, dpids in groups.items():
                    with suppress(UnavailableError):
                        self._bring_in_line(remote, dpids, timeout_s)
                raise TransactionError(f"weights of queues were not changed: {error}") from error
        return changed

    def _forget_stored(self) -> None:
        present = self._transactions.intent.weights_of
        left = {dpid: chosen for dpid, chosen in self._asked.items() if present.get(dpid) != chosen}
        if left != self._asked:
            self._asked = left

    def _keep(self, queues: ClassQueues, remote: str, dpids: list[int]) -> None:
        try:
            with self._lock:
                changed = self._bring_in_line(remote, dpids, UPKEEP_TIMEOUT_S)
        except UnavailableError as error:
            self._next_try_s[remote] = time.monotonic() + RETRY_S
            self._say(remote, f"weights of queues are not supported now: {error}")
            return
        self._said.pop(remote, None)
        if changed:
            self._journal.add("switch", f"{changed} queues set up or put right by the OVSDB at {remote}")
        present = self._transactions.intent.weights_of
        fresh = {dpid: queues.weights for dpid in dpids if dpid in self._in_line and dpid not in present}
        if fresh:
            self._transactions.run_own(lambda intent, labels: (_with_missing(intent, fresh, queues), labels))

    def _bring_in_line(self, remote: str, dpids: list[int], timeout_s: float) -> int:
        """Read, send the difference, and wait until the switch daemon has carried it out; how many queues changed."""
        wanted = {dpid: self._wanted().get(dpid, {}) for dpid in dpids}
        with self._open(remote, timeout_s) as database:
            found = found_ports(database.transact(READ_OPERATIONS))
            ours: dict[Hop, PortQueues] = {}
            supported = []
            for dpid, ports in wanted.items():
                problem = self._problem(dpid, ports, found)
                if problem is None:
                    ours |= ports
                    supported.append(dpid)
                else:
                    self._in_line.pop(dpid, None)
                    if dpid in self._asked:
                        raise UnavailableError(problem)
                    self._next_try_s[remote] = time.monotonic() + RETRY_S
                    self._say(f"switch {dpid}", problem)
            changes = queue_changes(ours, found)
            if changes.operations:
                self._send(database, changes.operations)
        now_s = time.monotonic()
        for dpid in supported:
            self._in_line[dpid] = wanted[dpid], now_s
            self._said.pop(f"switch {dpid}", None)
        self._metrics.queue_changes.inc(changes.queues)
        return changes.queues

    def _send(self, database: Database, operations: tuple[Operation, ...]) -> None:
        number = asked_for(database.transact(operations))
        while not is_taken(database.transact(TAKEN_OPERATIONS), number):
            hub.sleep(TAKEN_PAUSE_S)

    def _problem(self, dpid: int, ports: Mapping[Hop, PortQueues], found: Mapping[Hop, Any]) -> str | None:
        """Why the queues of a switch cannot be set up, None when they can."""
        name = self._names.name_of(dpid)
        for hop in ports:
            if hop not in found:
                return f"weights of {name} are not supported: its OVSDB has no port {hop.port} of datapath id {dpid:#x}"
            if not found[hop].own:
                return f"weights of {name} are not supported: port {found[hop].name} has a QoS row of somebody else"
        return None

    def _wanted(self) -> dict[int, dict[Hop, PortQueues]]:
        """The queues of every port that leads to a link, by datapath id of its switch."""
        queues, intent = self._queues, self._transactions.intent
        if queues is None:
            return {}
        if self._known[0] is not intent or self._known[1] is not self._asked:
            wanted: dict[int, dict[Hop, PortQueues]] = {}
            for hop, link in self._links().items():
                weights = self._asked.get(hop.dpid, intent.weights_of.get(hop.dpid, queues.weights))
                ports = wanted.setdefault(hop.dpid, {})
                ports[hop] = port_queues(queues.scheduler(weights), link.capacity_bps)
            self._known = intent, self._asked, wanted
        return self._known[2]

    def _is_due(self, dpid: int, now_s: float) -> bool:
        ports, since_s = self._in_line.get(dpid, (None, 0.0))
        wanted = self._wanted().get(dpid)
        untold = dpid not in self._transactions.intent.weights_of
        return bool(wanted) and (ports != wanted or untold or now_s - since_s >= self._audit_period_s)

    def _remote(self, dpid: int) -> str | None:
        """Where the OVSDB of a switch is; None while that cannot be told."""
        if self._ovsdb is None:
            return None
        kind, host, port = self._ovsdb
        if kind == "unix":
            return f"unix:{host}"
        if not host:
            channel = self._switches.channel(dpid)
            if channel is None:
                return None
            host = channel.datapath.address[0]
        return f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"

    def _say(self, about: str, text: str) -> None:
        """Once, until it is something else."""
        if self._said.get(about) != text:
            self._said[about] = text
            self._journal.add("error", text)


def _with_missing(
    intent: NetworkIntent, weights: Mapping[int, tuple[float, ...]], queues: ClassQueues
) -> NetworkIntent:
    missing = {dpid: chosen for dpid, chosen in weights.items() if dpid not in intent.weights_of}
    return with_queue_weights(intent, missing, queues.weights)
