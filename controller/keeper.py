"""Keeps the switches in line with the network as it is found: runs upkeep whenever something changed or comes due."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ryu.lib import hub

from controller.first_packets import FirstPackets
from controller.intent import DemandKey, NetworkIntent
from controller.labels import Hop, LabelTable
from controller.link_facts import Names, link_facts
from controller.network_view import NetworkView
from controller.settings import ControllerSettings
from controller.switches import Switches
from controller.transactions import Transactions
from controller.upkeep import broken_demands, kept_up, with_network
from topology_sync.discovery import DiscoveryState
from topology_sync.topology import Link

HEAL_AFTER_S = 5.0
"""How long a demand whose path broke is left to the optimizer; its packets take the bypass meanwhile."""
PROTECT_AFTER_S = 5.0
"""How long a link is down before ways around other links are led off it: a link that flaps, or whose first LLDP after a
restart is late, must not cost a change.  What the link itself carried is on its own way around all the time."""
BATCH_S = 0.003
UNSETTLED_BATCH_S = 0.1
SETTLE_FOR_DEMANDS_S = 2.0
IDLE_S = 0.5
AFTER_FAILURE_S = 1.0


class Keeper:
    """``step`` is its loop; ``request`` wakes it and never blocks."""

    def __init__(
        self,
        settings: ControllerSettings,
        names: Names,
        view: NetworkView,
        switches: Switches,
        transactions: Transactions,
    ) -> None:
        self._settings = settings
        self._names = names
        self._view = view
        self._switches = switches
        self._transactions = transactions
        self._requested = hub.Event()
        self._urgent = True
        self._broken_since_s: dict[DemandKey, float] = {}
        self._down_since_s: dict[Hop, float] = {}
        self.first_packets: FirstPackets | None = None

    def request(self, urgent: bool = True) -> None:
        """Something changed.  Not urgent: more of the same is likely to follow at once."""
        self._urgent = self._urgent or urgent
        self._requested.set()

    def on_network_change(self, before: DiscoveryState, after: DiscoveryState) -> None:
        """Links that went down are urgent, and so is everything once discovery has settled."""
        lost = any(link.up and not after.links.get(ends, link).up for ends, link in before.links.items())
        moved = before.hosts != after.hosts
        self.request(urgent=lost or moved)

    def links(self) -> Mapping[Hop, Link]:
        """Capacity, delay and queue of every link."""
        return link_facts(self._transactions.intent.links, self._names, self._settings)

    def step(self) -> float:
        """Wait for work and do it; returns the pause before the next step."""
        self._requested.wait(self._idle_s())
        hub.sleep(BATCH_S if self._urgent else UNSETTLED_BATCH_S)
        self._requested.clear()
        self._urgent = False
        report = self._transactions.run_own(self._change)
        self._note_broken()
        if self.first_packets is not None:
            self.first_packets.release(self._transactions.intent)
        return AFTER_FAILURE_S if report is not None and not report.ok else 0.0

    def _change(self, intent: NetworkIntent, labels: LabelTable) -> tuple[NetworkIntent, LabelTable]:
        now_s = time.monotonic()
        intent = with_network(intent, self._view.discovery, self._settings, self._names.dpid_of)
        settled = self._view.settled()
        wanted: set[DemandKey] = set()
        if self.first_packets is not None:
            since_s = self.first_packets.wanted(intent)
            wanted = {key for key, held_s in since_s.items() if settled or now_s - held_s > SETTLE_FOR_DEMANDS_S}
        to_heal = {key for key, broken_s in self._broken_since_s.items() if now_s - broken_s >= HEAL_AFTER_S}
        self._down_since_s = {link.hop: self._down_since_s.get(link.hop, now_s) for link in intent.links if not link.up}
        just_down = {hop for hop, down_s in self._down_since_s.items() if now_s - down_s < PROTECT_AFTER_S}
        facts = link_facts(intent.links, self._names, self._settings)
        return kept_up(
            intent,
            labels,
            wanted,
            to_heal,
            frozenset(self._switches.rules),
            lambda hop: facts[hop].capacity_bps,
            protect=settled or bool(intent.bypasses),
            just_down=just_down,
        )

    def _note_broken(self) -> None:
        now_s = time.monotonic()
        broken = broken_demands(self._transactions.intent)
        self._broken_since_s = {key: self._broken_since_s.get(key, now_s) for key in broken}

    def _idle_s(self) -> float:
        """Until the next label is drained, the next broken demand is due, or discovery may have settled."""
        now_s = time.monotonic()
        due = [now_s + IDLE_S]
        drained_s = self._transactions.next_drained_s()
        if drained_s is not None:
            due.append(drained_s)
        heal_s = [broken_s + HEAL_AFTER_S for broken_s in self._broken_since_s.values()]
        heal_s += [down_s + PROTECT_AFTER_S for down_s in self._down_since_s.values()]
        due += [due_s for due_s in heal_s if due_s > now_s]  # what could not be healed then is tried when idle
        if self.first_packets is not None and self.first_packets.waiting:
            due.append(now_s + UNSETTLED_BATCH_S)
        return max(0.001, min(due) - now_s)
