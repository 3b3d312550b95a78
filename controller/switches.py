"""The connected switches: their channels, and which rules each of them has.

What a switch has is either known exactly (read back, and every change since confirmed by a barrier) or not at all;
after an error or a lost reply it is read back again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ryu.lib import hub
from ryu.ofproto import ofproto_v1_3 as ofproto
from ryu.ofproto import ofproto_v1_3_parser as parser

from controller.arp_answers import ANSWER_COOKIE, trial_flow
from controller.channel import BatchOutcome, SwitchChannel
from controller.flow_statistics import FlowEntry
from controller.journal import Journal
from controller.message_codec import (
    FULL_COOKIE_MASK,
    NotOurForm,
    decode_flow,
    decode_group,
    delete_flows_by_cookie,
    encode_message,
)
from controller.metrics import Metrics
from controller.rules import FlowRule, GroupRule, RuleSet, is_own_group
from controller.settings import ControllerSettings
from controller.update_steps import AddFlow, AddGroup, DeleteFlow, DeleteGroup, Message, ModifyGroup
from topology_sync.cookies import OURS, CookieMatch

LOG = logging.getLogger(__name__)
READ_BACK_TIMEOUT_S = 10.0
READ_BACK_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""A switch that refuses our rules again and again is left out for so long, lest it hold up all others."""


@dataclass(frozen=True)
class ReadBack:
    """What a switch said.  ``odd_cookies``: flows with a cookie of ours in a form that we never write."""

    rules: RuleSet
    odd_cookies: frozenset[int]


class Switches:
    """All connected switches.  ``on_known`` is called when the rules of a switch have become known."""

    def __init__(
        self, settings: ControllerSettings, metrics: Metrics, journal: Journal, on_known: Callable[[int], None]
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._journal = journal
        self._on_known = on_known
        self._channels: dict[int, SwitchChannel] = {}
        self._rules: dict[int, RuleSet] = {}
        self._failures: dict[int, int] = {}
        self._activity: dict[int, int] = {}
        self._answers_arp: dict[int, bool] = {}

    @property
    def answering(self) -> frozenset[int]:
        """Switches that take rules by which they answer ARP themselves."""
        return frozenset(dpid for dpid, takes in self._answers_arp.items() if takes)

    @property
    def rules(self) -> Mapping[int, RuleSet]:
        """The rules of every switch whose rules are known."""
        return self._rules

    @property
    def connected(self) -> Iterable[int]:
        """Datapath ids with a live channel."""
        return tuple(self._channels)

    def channel(self, dpid: int) -> SwitchChannel | None:
        """The channel to a switch, None while there is none."""
        return self._channels.get(dpid)

    def connect(self, datapath: Any) -> SwitchChannel:
        """Take a new connection; an older one of the same switch is dropped."""
        old = self._channels.get(datapath.id)
        if old is not None:
            LOG.warning("switch %#x connected again; the older connection is dropped", datapath.id)
            old.close()
            hub.spawn(old.datapath.close)  # it tells Ryu, whose queue to us may be full while we are in a handler
        channel = SwitchChannel(datapath, self._settings.flow_mods_per_s, self._metrics)
        self._channels[datapath.id] = channel
        self._rules.pop(datapath.id, None)
        self._answers_arp.pop(datapath.id, None)
        self._metrics.switches_connected.set(len(self._channels))
        hub.spawn(self._learn_rules, channel)
        return channel

    def disconnect(self, datapath: Any) -> bool:
        """A connection ended; False when it was not the current one of its switch."""
        channel = self._channels.get(datapath.id)
        if channel is None or channel.datapath is not datapath:
            return False
        channel.close()
        del self._channels[datapath.id]
        self._rules.pop(datapath.id, None)
        self._metrics.switches_connected.set(len(self._channels))
        return True

    def close(self) -> None:
        """Drop all connections; rules stay where they are."""
        for channel in self._channels.values():
            channel.close()
            channel.datapath.close()

    def apply(
        self,
        dpid: int,
        messages: tuple[Message, ...],
        timeout_s: float,
        then: Callable[[int], Sequence[Any]] | None = None,
    ) -> BatchOutcome:
        """Send the messages with a barrier.  When not all of it is confirmed, the rules are read back again.

        ``then`` gives packet-outs for this switch that are to go right behind the messages.
        """
        channel = self._channels.get(dpid)
        rules = self._rules.get(dpid)
        if channel is None or rules is None:
            return BatchOutcome(False, ("the switch is not connected",))
        encoded = [encode_message(channel.datapath, message) for message in messages]
        self._note_activity(dpid)
        outcome = channel.send_batch(encoded, timeout_s, (lambda: then(dpid)) if then is not None else tuple)
        self._note_activity(dpid)
        if outcome.ok and self._rules.get(dpid) is rules:
            self._rules[dpid] = applied(rules, messages)
            self._failures.pop(dpid, None)
        elif self._channels.get(dpid) is channel:
            if outcome.errors and any(_answers_arp(message) for message in messages):
                self._note_refusal(dpid, outcome.errors[0])  # a full table, say: what must be there goes first
            self._rules.pop(dpid, None)
            self._failures[dpid] = failures = self._failures.get(dpid, 0) + 1
            pause_s = min(READ_BACK_PAUSE_S * 2 ** (failures - 1), LONGEST_PAUSE_S)
            hub.spawn_after(pause_s, self._learn_rules, channel)
        return outcome

    def activity(self, dpid: int) -> int:
        """Even while nothing is being sent to the switch; what was read is moot when it differs afterwards."""
        return self._activity.get(dpid, 0)

    def found(self, channel: SwitchChannel) -> RuleSet | None:
        """The rules of a switch as they are now; None when they cannot be read or changed meanwhile."""
        before = self.activity(channel.dpid)
        read = read_back(channel)
        if read is None or before % 2 or self.activity(channel.dpid) != before:
            return None
        if self._channels.get(channel.dpid) is not channel:
            return None
        if read.odd_cookies:
            self._rules.pop(channel.dpid, None)
            hub.spawn(self._learn_rules, channel)
            return None
        return read.rules

    def correct(self, dpid: int, rules: RuleSet) -> None:
        """The switch has other rules than it was known to have: whoever keeps it in line is told."""
        if dpid in self._rules:
            self._rules[dpid] = rules
            self._on_known(dpid)

    def _note_activity(self, dpid: int) -> None:
        self._activity[dpid] = self._activity.get(dpid, 0) + 1

    def _learn_rules(self, channel: SwitchChannel) -> None:
        while not channel.closed and self._channels.get(channel.dpid) is channel and channel.dpid not in self._rules:
            found = read_back(channel)
            if found is None:
                LOG.warning("switch %#x: its rules could not be read back yet", channel.dpid)
                hub.sleep(READ_BACK_PAUSE_S)
            elif found.odd_cookies:
                LOG.warning("switch %#x: removing rules of an unknown form that carry our cookie", channel.dpid)
                deletes = [delete_flows_by_cookie(channel.datapath, odd, FULL_COOKIE_MASK) for odd in found.odd_cookies]
                channel.send_batch(deletes, READ_BACK_TIMEOUT_S)
            elif (rules := self._with_arp_trial(channel, found.rules)) is None:
                hub.sleep(READ_BACK_PAUSE_S)
            elif self._channels.get(channel.dpid) is channel:
                self._rules[channel.dpid] = rules
                self._on_known(channel.dpid)

    def _with_arp_trial(self, channel: SwitchChannel, rules: RuleSet) -> RuleSet | None:
        """The rules of the switch, once it is known whether it answers ARP; None when it did not say.

        Where no rule shows it, the switch is given one, once per connection.
        """
        dpid = channel.dpid
        if any(flow.cookie == ANSWER_COOKIE for flow in rules.flows.values()):
            self._answers_arp.setdefault(dpid, True)
        if dpid in self._answers_arp:
            return rules
        trial = AddFlow(trial_flow())
        outcome = channel.send_batch([encode_message(channel.datapath, trial)], READ_BACK_TIMEOUT_S)
        if outcome.ok:
            self._answers_arp[dpid] = True
            return applied(rules, [trial])
        if not outcome.confirmed:
            return None
        self._note_refusal(dpid, outcome.errors[0])
        return rules

    def _note_refusal(self, dpid: int, error: str) -> None:
        if self._answers_arp.get(dpid, True):
            detail = f"switch {dpid:#x} refuses rules that answer ARP ({error}): the controller answers for it"
            LOG.warning("%s", detail)
            self._journal.add("switch", detail)
        self._answers_arp[dpid] = False


def _answers_arp(message: Message) -> bool:
    return isinstance(message, AddFlow) and message.flow.cookie == ANSWER_COOKIE


def applied(rules: RuleSet, messages: Iterable[Message]) -> RuleSet:
    """The rules of a switch after it carried out the messages."""
    flows, groups = dict(rules.flows), dict(rules.groups)
    for message in messages:
        match message:
            case AddFlow(flow):
                flows[flow.key] = flow
            case DeleteFlow(flow):
                if flow.key in flows and flows[flow.key].cookie == flow.cookie:
                    del flows[flow.key]
            case AddGroup(group) | ModifyGroup(group):
                groups[group.group_id] = group
            case DeleteGroup(group_id):
                groups.pop(group_id, None)
                flows = {key: flow for key, flow in flows.items() if group_id not in flow.groups()}
    return RuleSet(flows, groups)


def flow_statistics_request(datapath: Any, table_id: int, cookies: CookieMatch, eth_type: int | None = None) -> Any:
    """A request for all flows of a table (or ``OFPTT_ALL``) with such a cookie, and only those for one ethertype."""
    match = parser.OFPMatch() if eth_type is None else parser.OFPMatch(eth_type=eth_type)
    return parser.OFPFlowStatsRequest(
        datapath, 0, table_id, ofproto.OFPP_ANY, ofproto.OFPG_ANY, cookies.value, cookies.mask, match
    )


def read_back(channel: SwitchChannel) -> ReadBack | None:
    """All flows and our groups of a switch, by asking it; None when it did not answer."""
    everything = flow_statistics_request(channel.datapath, ofproto.OFPTT_ALL, CookieMatch(0, 0))
    entries: list[FlowEntry] | None = channel.request(everything, READ_BACK_TIMEOUT_S)
    groups = channel.request(parser.OFPGroupDescStatsRequest(channel.datapath), READ_BACK_TIMEOUT_S)
    if entries is None or groups is None:
        return None
    flows: list[FlowRule] = []
    odd: set[int] = set()
    for index, entry in enumerate(entries):
        if index % 200 == 199:
            hub.sleep(0)  # a full parse takes 55 us
        try:
            flows.append(decode_flow(entry.full()))
        except NotOurForm:
            if entry.cookie & OURS.mask == OURS.value:
                odd.add(entry.cookie)
    known: list[GroupRule] = []
    for description in groups:
        if is_own_group(description.group_id):
            try:
                known.append(decode_group(description))
            except NotOurForm:
                known.append(GroupRule(description.group_id, "select", ()))
    return ReadBack(RuleSet.of(flows, known), frozenset(odd))
