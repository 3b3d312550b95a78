"""The next intent changes what it must and nothing else."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given

from controller.compiler import compile_rules
from controller.intent import (
    DemandKey,
    ExplicitPath,
    IntentClass,
    NetworkIntent,
    with_plan,
    with_topology,
)
from controller.labels import Hop
from controller.protection import with_protection
from tests.controller import random_networks as nets
from tests.controller.random_networks import Sample
from tests.controller.test_compiler import triangle
from topology_sync.errors import InputError, PlanError

KEY = DemandKey(1, 3, "default")
DIRECT = ExplicitPath((Hop(1, 2),))
AROUND = ExplicitPath((Hop(1, 1), Hop(2, 2)))


@nets.searched(15)
@given(nets.samples())
def test_an_intent_survives_json_and_compiles_to_the_same_rules(drawn: tuple[Sample, random.Random]) -> None:
    intent = drawn[0].intent
    again = NetworkIntent.from_json(json.loads(json.dumps(intent.to_json())))
    assert again == intent
    assert compile_rules(again) == compile_rules(intent)


@nets.searched(15)
@given(nets.samples())
def test_protection_is_stable_and_comes_back_to_rest(drawn: tuple[Sample, random.Random]) -> None:
    """Nothing changes without need: only bypasses over a link that went down do, and none does when it comes back."""
    sample, chance = drawn
    intent, labels = with_protection(sample.intent, sample.labels)
    assert (intent, labels) == (sample.intent, sample.labels)
    broken = nets.with_links_down(intent, chance)
    changed, labels = with_protection(broken, labels)
    for bypass in intent.bypasses:
        if all(broken.link_of[hop].up for hop in bypass.hops):
            assert changed.bypass_of[bypass.link] == bypass
    for bypass in changed.bypasses:
        working = all(changed.link_of[hop].up for hop in bypass.hops)
        assert working or bypass == intent.bypass_of[bypass.link]
        assert not {bypass.link, sample.cables()[bypass.link]} & set(bypass.hops)
    mended = replace(changed, links=intent.links)
    assert with_protection(mended, labels)[0].bypasses == changed.bypasses


def test_a_path_that_stays_keeps_label_and_version() -> None:
    sample = triangle()
    (before,) = sample.intent.demands
    split, labels = with_plan(sample.intent, sample.labels, {KEY: [AROUND, DIRECT]})
    (demand,) = split.demands
    assert demand.routes[0] == before.routes[0]
    assert demand.version == demand.routes[1].version == before.version + 1
    assert demand.routes[1].label not in sample.intent.labels()
    single, _ = with_plan(split, labels, {KEY: [DIRECT]})
    assert single.demands[0].routes == (demand.routes[1],)


def test_a_plan_that_changes_nothing_changes_nothing() -> None:
    sample = triangle()
    assert with_plan(sample.intent, sample.labels, {KEY: [AROUND]}) == (sample.intent, sample.labels)


def test_versions_wrap_and_new_demands_get_new_numbers() -> None:
    sample = triangle()
    old = replace(sample.intent, demands=(replace(sample.intent.demands[0], version=255),))
    other = DemandKey(2, 3, "default")
    intent, _ = with_plan(old, sample.labels, {KEY: [DIRECT], other: [ExplicitPath((Hop(2, 2),))]})
    assert [demand.version for demand in intent.demands] == [0, 1]
    assert [demand.number for demand in intent.demands] == [1, 2]


@pytest.mark.parametrize(
    ("key", "paths", "problem"),
    [
        (KEY, [ExplicitPath(())], "ends at switch 1"),
        (KEY, [ExplicitPath((Hop(1, 1),))], "ends at switch 2"),
        (KEY, [ExplicitPath((Hop(1, 7),))], "not known"),
        (KEY, [ExplicitPath((Hop(1, 1), Hop(2, 1), Hop(1, 2)))], "loop-free"),
        (KEY, [ExplicitPath((Hop(2, 2),))], "no joined"),
        (KEY, [replace(DIRECT, weight=0)], "weight 0"),
        (KEY, [DIRECT, replace(DIRECT, weight=2)], "twice"),
        (DemandKey(1, 1, "default"), [], "two known switches"),
        (DemandKey(1, 9, "default"), [], "two known switches"),
        (DemandKey(1, 2, "gold"), [], "class"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_in_one_line(
    key: DemandKey, paths: list[ExplicitPath], problem: str
) -> None:
    sample = triangle()
    with pytest.raises(PlanError, match=problem) as caught:
        with_plan(sample.intent, sample.labels, {key: paths})
    assert "\n" not in str(caught.value)


def test_two_classes_for_all_the_rest_are_refused() -> None:
    with pytest.raises(PlanError, match="DSCP"):
        NetworkIntent(classes=(IntentClass("a"), IntentClass("b"))).check()


def test_what_needs_a_link_or_switch_that_is_gone_goes_with_it() -> None:
    sample = triangle()
    intent, labels = with_plan(sample.intent, sample.labels, {KEY: [AROUND, DIRECT]})
    links = [link for link in intent.links if link.hop not in (Hop(1, 1), Hop(2, 1))]
    smaller = with_topology(intent, intent.switches, links)
    (demand,) = smaller.demands
    assert [route.links for route in demand.routes] == [DIRECT.links]
    assert demand.version == intent.demands[0].version + 1
    assert smaller.bypasses == ()
    compile_rules(with_protection(smaller, labels)[0])
    without_end = with_topology(intent, (1, 2), intent.links)
    assert without_end.demands == ()
    assert without_end.hosts == ()
    compile_rules(without_end)
    assert with_topology(intent, intent.switches, intent.links) == replace(
        intent, links=tuple(sorted(intent.links, key=lambda link: link.hop))
    )


def test_something_else_is_refused() -> None:
    for data in ({}, {"format": "other/1"}, {**triangle().intent.to_json(), "links": [{"up": True}]}):
        with pytest.raises(InputError, match="intent"):
            NetworkIntent.from_json(data)
