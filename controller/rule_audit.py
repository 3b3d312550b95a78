"""Compares what switches have with what they should have, one switch after the other, and has differences put right.

A rule can go without a word: deleted by hand, by another controller, by a switch that forgot.  Rules read last time are
remembered as bytes, so a switch on which nothing differs costs one comparison of bytes per rule and no message but the
two questions.  Rules and groups of others are none of our business.
"""

from __future__ import annotations

from dataclasses import dataclass

from ryu.ofproto import ofproto_v1_3 as ofproto
from ryu.ofproto import ofproto_v1_3_parser as parser

from controller.channel import SwitchChannel
from controller.flow_statistics import FlowEntry
from controller.journal import Journal
from controller.link_facts import Names
from controller.metrics import Metrics
from controller.rules import RuleSet, is_own_group
from controller.settings import ControllerSettings
from controller.switches import Switches, flow_statistics_request
from topology_sync.cookies import OURS, Cookie

ANSWER_TIMEOUT_S = 5.0
SHORTEST_PAUSE_S = 0.05


@dataclass(frozen=True)
class Differences:
    """How many of our rules are not there, there though they should not be, or other than they should be."""

    missing: int
    unasked: int
    changed: int

    @property
    def count(self) -> int:
        """All together."""
        return self.missing + self.unasked + self.changed


def differences(expected: RuleSet, found: RuleSet) -> Differences:
    """Compare flows with our cookies, and our groups."""
    missing = unasked = changed = 0
    should_flows = {key: flow for key, flow in expected.flows.items() if Cookie.unpack(flow.cookie) is not None}
    has_flows = {key: flow for key, flow in found.flows.items() if Cookie.unpack(flow.cookie) is not None}
    should_groups = {number: group for number, group in expected.groups.items() if is_own_group(number)}
    has_groups = {number: group for number, group in found.groups.items() if is_own_group(number)}
    for should, has in ((should_flows, has_flows), (should_groups, has_groups)):
        missing += len(should.keys() - has.keys())
        unasked += len(has.keys() - should.keys())
        changed += sum(should[key] != has[key] for key in should.keys() & has.keys())  # type: ignore[index]
    return Differences(missing, unasked, changed)


class RuleAudit:
    """``step`` audits one switch."""

    def __init__(
        self, settings: ControllerSettings, names: Names, switches: Switches, metrics: Metrics, journal: Journal
    ) -> None:
        self._period_s = settings.audit_period_s
        self._names = names
        self._switches = switches
        self._metrics = metrics
        self._journal = journal
        self._last = 0
        self._seen: dict[int, tuple[RuleSet, frozenset[bytes]]] = {}

    def step(self) -> float:
        """Audit the next switch in order; the pause spreads all of them over the period."""
        dpids = sorted(self._switches.rules)
        dpid = next((dpid for dpid in dpids if dpid > self._last), dpids[0] if dpids else None)
        channel = self._switches.channel(dpid) if dpid is not None else None
        if dpid is not None and channel is not None:
            self._last = dpid
            self._audit(channel)
        self._seen = {dpid: seen for dpid, seen in self._seen.items() if dpid in self._switches.rules}
        return max(self._period_s / max(len(dpids), 1), SHORTEST_PAUSE_S)

    def _audit(self, channel: SwitchChannel) -> None:
        dpid = channel.dpid
        expected = self._switches.rules[dpid]
        content = self._content(channel)
        if content is None or (dpid in self._seen and self._seen[dpid] == (expected, content)):
            return
        found = self._switches.found(channel)
        if found is None or self._switches.rules.get(dpid) is not expected:
            return  # it is being changed just now; the next round will see
        differing = differences(expected, found)
        if not differing.count:
            self._seen[dpid] = expected, content
            return
        self._metrics.rules_put_right.inc(differing.count)
        self._journal.add(
            "error",
            f"switch {self._names.name_of(dpid)}: {differing.missing} rules missing, {differing.unasked} unasked for, "
            f"{differing.changed} changed by somebody else; putting them right",
        )
        self._switches.correct(dpid, found)

    def _content(self, channel: SwitchChannel) -> frozenset[bytes] | None:
        """All that the switch says about our rules, but for counters; None when it did not answer."""
        datapath = channel.datapath
        entries: list[FlowEntry] | None
        entries, groups = channel.request_all(
            [
                flow_statistics_request(datapath, ofproto.OFPTT_ALL, OURS),
                parser.OFPGroupDescStatsRequest(datapath),
            ],
            ANSWER_TIMEOUT_S,
        )
        if entries is None or groups is None:
            return None
        self._metrics.rules_audited.inc(len(entries) + len(groups))
        own = (description for description in groups if is_own_group(description.group_id))
        return frozenset(entry.identity() for entry in entries) | {repr(group.to_jsondict()).encode() for group in own}
