"""A way around every link, laid before the link fails: which bypasses the next intent has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from controller.intent import IntentBypass, IntentLink, NetworkIntent
from controller.labels import BypassOwner, Hop, LabelTable


def with_protection(intent: NetworkIntent, labels: LabelTable) -> tuple[NetworkIntent, LabelTable]:
    """The next intent in which every known link has a way around it, where the network has one.

    Fewest hops over links that are up; a parallel link that is up is such a way and needs no label.  The present bypass
    stays while all its links are up, so that rules do not churn; a broken one stays only while there is no other.
    """
    present = {
        bypass.link: bypass
        for bypass in intent.bypasses
        if bypass.link in intent.link_of and all(hop in intent.link_of for hop in bypass.hops)
    }
    neighbours: dict[int, list[IntentLink]] = {}
    for link in sorted(intent.links, key=lambda link: link.hop):
        if link.up:
            neighbours.setdefault(link.source_dpid, []).append(link)
    chosen: dict[Hop, tuple[Hop, ...]] = {}
    for link in intent.links:
        old = present.get(link.hop)
        if old is not None and all(intent.link_of[hop].up for hop in old.hops) and _joins(intent, old.hops, link):
            chosen[link.hop] = old.hops
            continue
        hops = _fewest_hops(neighbours, link)
        if hops:
            chosen[link.hop] = hops
        elif old is not None and _joins(intent, old.hops, link):
            chosen[link.hop] = old.hops
    owners = [BypassOwner(hop, hops) for hop, hops in chosen.items() if len(hops) > 1]
    labels, granted = labels.allocate(owners)
    label_of = dict(zip(owners, granted, strict=True))
    bypasses = (IntentBypass(hop, label_of.get(BypassOwner(hop, hops)), hops) for hop, hops in chosen.items())
    return replace(intent, bypasses=tuple(sorted(bypasses, key=lambda bypass: bypass.link))), labels


def _joins(intent: NetworkIntent, hops: Sequence[Hop], link: IntentLink) -> bool:
    ends = [intent.link_of[hop] for hop in hops]
    joined = all(before.target_dpid == after.source_dpid for before, after in pairwise(ends))
    return joined and (ends[0].source_dpid, ends[-1].target_dpid) == (link.source_dpid, link.target_dpid)


def _fewest_hops(neighbours: Mapping[int, Sequence[IntentLink]], around: IntentLink) -> tuple[Hop, ...]:
    """Breadth first from the link's source to its target without the link itself; () when there is none.

    A shortest way leaves the source for good and ends at the target, so it cannot use the opposite link either.
    """
    reached: dict[int, tuple[Hop, ...]] = {around.source_dpid: ()}
    frontier = [around.source_dpid]
    while frontier:
        following = []
        for dpid in frontier:
            for link in neighbours.get(dpid, ()):
                if link.hop == around.hop or link.target_dpid in reached:
                    continue
                reached[link.target_dpid] = (*reached[dpid], link.hop)
                if link.target_dpid == around.target_dpid:
                    return reached[link.target_dpid]
                following.append(link.target_dpid)
        frontier = following
    return ()
