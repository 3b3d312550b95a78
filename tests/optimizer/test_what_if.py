"""What-if: what failures, growth and drains do, what the network does by itself, what a new routing brings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from gnn_model.analytic import AnalyticPredictor
from gnn_model.predictor import Predictor
from optimizer import what_if_commands
from optimizer.failure_benchmark import WatchedPredictor, failures, promised_scenario, summary
from optimizer.local_search import SearchLimits
from optimizer.what_if import Changes, changed_network, fallback_of, repaired_routing
from optimizer.what_if_answer import answer_json, answer_question, situation_before
from optimizer.what_if_changes import WrittenChanges, all_cables, changes_to_json, read_changes
from optimizer.what_if_failures import FailureQuestion, failure_rows, survival
from optimizer.what_if_upgrades import rank_upgrades
from topology_sync.errors import InputError
from topology_sync.paths import fewest_hops_routing
from topology_sync.routing import PathShare
from topology_sync.scenario import Scenario, SlaGoal
from topology_sync.scenario_json import write_scenario
from topology_sync.topology import Link, Topology
from topology_sync.traffic import Demand, TrafficMatrix

ANALYTIC = AnalyticPredictor()
GOALS = (SlaGoal("voice", 0.015, 99.0, None, 0.001), SlaGoal("bulk", None, None, None, 0.01))


def two_analytic() -> tuple[Predictor, Predictor]:
    return AnalyticPredictor(), AnalyticPredictor()


@st.composite
def networks(draw: st.DrawFn) -> Scenario:
    """A ring with chords, every pair a demand, some of them split over two ways."""
    nodes = draw(st.integers(4, 7))
    chords = draw(st.sets(st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1)), max_size=4))
    pairs = {(i, (i + 1) % nodes) for i in range(nodes)} | {p for p in chords if p[0] != p[1]}
    pairs -= {pair for pair in pairs if pair[::-1] in pairs and pair > pair[::-1]}
    names = [f"n{i}" for i in range(nodes)]
    links = [Link(names[x], names[y], 1e7, 0.001) for pair in sorted(pairs) for x, y in (pair, pair[::-1])]
    topology = Topology.from_links(names, links)
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    demands = [
        Demand(a, b, float(random.uniform(1e4, 1.2e6)), "voice" if random.random() < 0.3 else "bulk")
        for a in names
        for b in names
        if a != b
    ]
    traffic = TrafficMatrix.from_demands(demands, topology.node_index, ("voice", "bulk"))
    return Scenario("random", topology, traffic, fewest_hops_routing(topology, traffic), GOALS)


# properties


@given(networks())
@settings(max_examples=10, deadline=None)
def test_without_changes_everything_stays_as_it_is(scenario: Scenario) -> None:
    before = situation_before(scenario, ANALYTIC)
    answer = answer_question(before, Changes(), ANALYTIC)
    assert answer.after.prediction == before.prediction
    assert answer.after.score == before.score
    assert answer.after.scenario == scenario
    assert not answer.fallback.rerouted
    assert not answer.after.lost_share.any()


@given(networks(), st.floats(0.1, 4.0))
@settings(max_examples=10, deadline=None)
def test_growth_scales_every_rate_and_the_fullest_link(scenario: Scenario, factor: float) -> None:
    before = situation_before(scenario, ANALYTIC)
    after = answer_question(before, Changes(traffic_factor=factor), ANALYTIC).after
    assert after.scenario.traffic.rate_bps == pytest.approx(scenario.traffic.rate_bps * factor)
    assert after.score.max_utilisation == pytest.approx(before.score.max_utilisation * factor)
    voice = changed_network(scenario, Changes(class_factor={"voice": factor})).scenario.traffic
    of_class = scenario.traffic.traffic_class == 0
    assert voice.rate_bps[of_class] == pytest.approx(scenario.traffic.rate_bps[of_class] * factor)
    assert np.array_equal(voice.rate_bps[~of_class], scenario.traffic.rate_bps[~of_class])


@given(networks(), st.data())
@settings(max_examples=30, deadline=None)
def test_no_route_uses_what_has_failed_and_all_lead_where_they_should(scenario: Scenario, data: st.DataObject) -> None:
    topology, traffic = scenario.topology, scenario.traffic
    cables = data.draw(st.sets(st.sampled_from(all_cables(topology)), min_size=1, max_size=3))
    nodes = data.draw(st.sets(st.integers(0, topology.node_count - 1), max_size=1))
    changes = Changes(failed_links=frozenset(link for c in cables for link in c), failed_nodes=frozenset(nodes))
    for kind in ("bypass", "shortest"):
        network = changed_network(scenario, changes)
        fallback = fallback_of(network, kind)
        start, unreachable = repaired_routing(network, fallback)
        for demand in range(traffic.demand_count):
            ends = int(traffic.source[demand]), int(traffic.target[demand])
            if fallback.lost_share[demand] < 1:
                for path in fallback.routing.paths[demand]:
                    walk = path.nodes(topology)
                    assert network.usable.up[list(path.links)].all()
                    assert (walk[0], walk[-1]) == ends
                    assert all(
                        topology.link_target[one] == topology.link_source[two]
                        for one, two in zip(path.links, path.links[1:], strict=False)
                    )
            if demand in unreachable:
                assert fallback.lost_share[demand] == 1
            else:
                assert all(network.usable.up[list(path.links)].all() for path in start.paths[demand])
        start.check(topology, traffic)


@given(networks(), st.data())
@settings(max_examples=6, deadline=None)
def test_a_new_routing_is_never_worse_than_what_the_network_does_by_itself(
    scenario: Scenario, data: st.DataObject
) -> None:
    cable = data.draw(st.sampled_from(all_cables(scenario.topology)))
    before = situation_before(scenario, ANALYTIC)
    changes = Changes(failed_links=frozenset(cable), traffic_factor=data.draw(st.floats(0.5, 2.0)))
    answer = answer_question(before, changes, ANALYTIC, limits=SearchLimits(0.15))
    assert answer.reoptimised is not None
    assert answer.reoptimised.rank <= answer.after.rank
    up = changed_network(scenario, changes).usable.up
    assert all(up[list(path.links)].all() for paths in answer.reoptimised.scenario.routing.paths for path in paths)


# single cases


def square() -> Scenario:
    """a-b-c-d-a; a to c over b, b to c direct."""
    names = ("a", "b", "c", "d")
    pairs = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")]
    topology = Topology.from_links(names, [Link(x, y, 1e7) for pair in pairs for x, y in (pair, pair[::-1])])
    traffic = TrafficMatrix.from_demands(
        [Demand("a", "c", 4e6, "voice"), Demand("b", "c", 2e6, "bulk"), Demand("d", "a", 1e6, "bulk")],
        topology.node_index,
    )
    return Scenario("square", topology, traffic, fewest_hops_routing(topology, traffic), GOALS)


def names_of(scenario: Scenario, path: PathShare) -> str:
    return "".join(scenario.topology.node_names[node] for node in path.nodes(scenario.topology))


def asked(scenario: Scenario, **written: Any) -> Changes:
    return read_changes(scenario, WrittenChanges(**written))


def test_a_dead_link_is_bypassed_packet_by_packet_and_the_detour_is_cut_short_when_repaired() -> None:
    scenario = square()
    network = changed_network(scenario, asked(scenario, fail_links=["b:c"]))
    fallback = fallback_of(network, "bypass")
    assert [names_of(scenario, paths[0]) for paths in fallback.routing.paths] == ["abadc", "badc", "da"]
    assert fallback.rerouted == {0, 1}
    start, _ = repaired_routing(network, fallback)
    assert [names_of(scenario, paths[0]) for paths in start.paths] == ["adc", "badc", "da"]
    shortest = fallback_of(network, "shortest")
    assert [names_of(scenario, paths[0]) for paths in shortest.routing.paths] == ["adc", "badc", "da"]


def test_the_detour_loads_the_links_it_passes_twice() -> None:
    scenario = square()
    answer = answer_question(situation_before(scenario, ANALYTIC), asked(scenario, fail_links=["b:c"]), ANALYTIC)
    load = answer.after.scenario.routing.link_load_bps(scenario.traffic, scenario.topology.link_count)
    by_name = {scenario.topology.link_name(link): load[link] / 1e6 for link in range(len(load))}
    assert by_name["a->b"] == pytest.approx(4)
    assert by_name["b->a"] == pytest.approx(6)
    assert by_name["d->c"] == pytest.approx(6)
    assert by_name["b->c"] == 0


def test_a_dead_node_cuts_off_what_ends_there_for_good_and_what_passes_until_it_is_rerouted() -> None:
    scenario = square()
    before = situation_before(scenario, ANALYTIC)
    answer = answer_question(before, asked(scenario, fail_nodes=["b"]), ANALYTIC, limits=SearchLimits(0.1))
    data = answer_json(answer, [], "analytic", 0.0)
    assert [(row["source"], row["reachable"]) for row in data["cut_off"]] == [("a", True), ("b", False)]
    assert data["demands"][0]["after"]["loss_ratio"] == 1
    assert data["demands"][0]["after"]["delay_s"] is None
    assert data["demands"][0]["reoptimized"]["loss_ratio"] < 0.01
    assert data["demands"][1]["reoptimized"]["loss_ratio"] == 1
    assert data["after"]["classes"][0]["cut_off"] == 1
    assert data["reoptimized"]["routing"] == [
        {"source": "a", "target": "c", "class": "voice", "paths": [{"nodes": ["a", "d", "c"], "share": 1.0}]}
    ]


def test_a_new_routing_may_come_with_other_queue_weights(shared_link_scenario: Scenario) -> None:
    before = situation_before(replace(shared_link_scenario, sla=GOALS), ANALYTIC)
    paths, both = (
        answer_json(
            answer_question(before, Changes(), ANALYTIC, limits=SearchLimits(10.0, 3, queue_weights=allowed)),
            [],
            "",
            0.0,
        )["reoptimized"]
        for allowed in (False, True)
    )
    assert (paths["changed_nodes"], paths["nodes"]) == (0, [])
    assert paths["violated"] > both["violated"] == 0
    assert both["changed_nodes"] == len(both["nodes"]) > 0
    assert both["changed_demands"] == 0


def test_a_split_demand_loses_only_the_part_that_is_cut() -> None:
    scenario = square()
    links = scenario.topology.links_between
    ways = [tuple(links[hop][0] for hop in way) for way in (((0, 1), (1, 2)), ((0, 3), (3, 2)))]
    split = scenario.with_routing(
        scenario.routing.with_changes({0: [PathShare(ways[0], 0.25), PathShare(ways[1], 0.75)]})
    )
    answer = answer_question(situation_before(split, ANALYTIC), asked(split, fail_nodes=["b"]), ANALYTIC)
    assert answer.after.lost_share[0] == pytest.approx(0.25)
    assert answer.after.prediction.loss_ratio[0] == pytest.approx(0.25, abs=0.01)
    assert np.isfinite(answer.after.prediction.delay_s[0])


def test_a_drain_moves_traffic_away_and_cuts_nothing_off() -> None:
    scenario = square()
    for written in ({"drain_links": ["b:c"]}, {"drain_nodes": ["b"]}):
        answer = answer_question(situation_before(scenario, ANALYTIC), asked(scenario, **written), ANALYTIC)
        assert names_of(scenario, answer.after.scenario.routing.paths[0][0]) == "adc"
        assert not answer.after.lost_share.any()


def test_a_parallel_link_is_the_bypass_of_its_twin() -> None:
    names = ("a", "b")
    topology = Topology.from_links(names, [Link(x, y, c) for c in (2e7, 1e7) for x, y in (names, names[::-1])])
    traffic = TrafficMatrix.from_demands([Demand("a", "b", 4e6)], topology.node_index)
    scenario = Scenario("twins", topology, traffic, fewest_hops_routing(topology, traffic))
    assert len(all_cables(topology)) == 2
    used = scenario.routing.paths[0][0].links[0]
    number = 1 + next(n for n, cable in enumerate(all_cables(topology)) if used in cable)
    network = changed_network(scenario, asked(scenario, fail_links=[f"a:b#{number}"]))
    moved = fallback_of(network).routing.paths[0][0].links
    assert len(moved) == 1
    assert moved[0] != used


def test_a_new_link_is_used_by_a_new_routing_only(hotspot_scenario: Scenario) -> None:
    scenario = replace(hotspot_scenario, sla=GOALS)
    before = situation_before(scenario, ANALYTIC)
    changes = asked(scenario, add_links=["c:e=10M,0.0005"])
    answer = answer_question(before, changes, ANALYTIC, limits=SearchLimits(0.5))
    assert answer.after.score == before.score
    assert answer.reoptimised is not None
    assert answer.reoptimised.score.violation < before.score.violation
    assert changes_to_json(scenario, changes)[0]["capacity_bps"] == 1e7


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"fail_links": ["a:x"]}, "--fail-link: there is no node 'x'"),
        ({"fail_links": ["a:c"]}, "no link between 'a' and 'c'; a has links to b, d"),
        ({"add_links": ["a:mars=1G"]}, "there is no node 'mars'"),
        ({"set_capacity": ["a:b=10Gb"]}, "above 0, up to 1e.18, as A:B=BPS, such as 10G or 2.5e9"),
        ({"fail_links": ["a"]}, "write A:B"),
        ({"fail_links": ["a:b#2"]}, "is not there"),
        ({"fail_nodes": ["A"]}, "--fail-node: there is no node 'A'"),
        ({"drain_nodes": ["zz"]}, "--drain-node"),
        ({"scale_traffic": ["-1"]}, "--scale-traffic"),
        ({"scale_traffic": ["video=2"]}, "no class 'video'"),
        ({"scale_traffic": ["nan"]}, "--scale-traffic"),
        ({"set_capacity": ["a:b"]}, "--set-capacity"),
        ({"set_capacity": ["a:b=0"]}, "--set-capacity"),
        ({"add_links": ["a:a=1G"]}, "--add-link"),
        ({"add_links": ["a:c=1G,-1"]}, "of 0 or more, up to 1000, for the delay in seconds"),
    ],
)
def test_names_and_numbers_that_do_not_fit_are_refused_in_one_line(written: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        asked(square(), **written)
    assert "\n" not in str(refused.value)


# all failures, upgrades


def rounded(value: Any) -> Any:
    """The same with nine digits: the last ones depend on which process compiled the kernels."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return float(f"{value:.9g}") if isinstance(value, float) and abs(value) > 1e-12 else value


def test_all_failures_are_the_same_over_two_processes_as_over_one() -> None:
    question = FailureQuestion(square(), two_analytic)
    one, two = (list(failure_rows(question, processes)) for processes in (1, 2))
    for row in (*one, *two):
        del row["seconds"]
    assert rounded(one) == rounded(two)
    assert [row["link"] for row in one] == [["a", "b"], ["a", "d"], ["b", "c"], ["c", "d"]]
    assert survival(one)["failures"] == 4
    assert survival(one)["survived"] == sum(1 for row in one if not row["violated"])


def test_the_best_upgrade_is_the_link_that_hurts(hotspot_scenario: Scenario) -> None:
    scenario = replace(hotspot_scenario, sla=GOALS)
    before, upgrades = rank_upgrades(scenario, 3, ANALYTIC)
    best = upgrades[0]
    assert {scenario.topology.link_name(link) for link in best.links} == {"a->b", "b->a"}
    assert best.answer.after.score.violation < before.score.violation
    ranks = [upgrade.answer.final.rank for upgrade in upgrades]
    assert ranks == sorted(ranks)
    assert best.price is not None
    assert best.price >= 0


def test_prices_tell_where_capacity_is_scarce() -> None:
    scenario = square()
    bound = scenario.traffic.with_rates(np.array([8e6, 6e6, 1e6]))
    _, upgrades = rank_upgrades(replace(scenario, traffic=bound), 4, ANALYTIC)
    price = {"".join(scenario.topology.link_name(u.links[0]).split("->")): u.price for u in upgrades}
    assert max(price, key=lambda name: price[name] or 0) in ("bc", "cd")
    assert price["ab"] == pytest.approx(0, abs=1e-9)


def test_the_failure_benchmark_measures_time_and_success() -> None:
    scenario = promised_scenario_fast()
    rows = list(failures(scenario, ANALYTIC, 0.2, 3))
    assert len(rows) == 3
    for row in rows:
        assert row["seconds"] > 0
        assert (row["met_s"] is not None) == (row["violated_reoptimized"] == 0)
    figures = summary(rows)
    assert figures["count"] == figures["hurt"] + figures["kept_anyway"] == 3


def test_a_first_plan_is_one_over_working_links() -> None:
    scenario = square()
    used = int(scenario.routing.flat.hop_link[0])
    hopeful = replace(scenario, sla=())
    on_time = WatchedPredictor(ANALYTIC, hopeful, frozenset())
    on_time.predict(hopeful)
    assert on_time.met_at is not None
    failed = WatchedPredictor(ANALYTIC, hopeful, frozenset({used}))
    failed.predict(hopeful)
    assert failed.met_at is None


def promised_scenario_fast() -> Scenario:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("optimizer.failure_benchmark.PREPARATION_S", 0.3)
        patch.setattr("optimizer.failure_benchmark.BOUND_S", 0.1)
        return promised_scenario("sndlib/polska", ANALYTIC, 0.6, 1.5)


# the command


def call(*arguments: object) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    what_if_commands.register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "square.json"
    write_scenario(square(), path)
    return path


def test_the_command_answers_as_the_contract_says(file: Path) -> None:
    result = call(file, "--fail-link", "b:c", "--reoptimize", "--time-limit", 0.2, "--predictor", "analytic", "--json")
    data = json.loads(result.stdout)
    assert list(data) == [
        "scenario",
        "changes",
        "predictor",
        "before",
        "after",
        "reoptimized",
        "demands",
        "cut_off",
        "seconds",
    ]
    assert data["changes"] == [{"change": "fail-link", "link": ["b", "c"]}]
    assert data["predictor"] == "analytic"
    for name in ("before", "after", "reoptimized"):
        entry = data[name]["classes"][0]
        assert {"class", "demands", "violated", "worst_delay_p99_s"} <= set(entry)
        assert data["demands"][0][name]["delay_p99_s"] > 0
    assert result.exit_code == (1 if data["reoptimized"]["violated"] else 0)


def test_the_learned_model_says_which_situations_it_was_not_trained_for(file: Path) -> None:
    growth = ("--scale-traffic", 8, "--time-limit", 0.1)
    data = json.loads(call(file, *growth, "--json").stdout)
    assert data["predictor"] == "gnn"
    assert set(data["validity"]) == {"before", "after"}
    assert data["validity"]["after"]["inside"] is False
    assert "load of the fullest port" in data["validity"]["after"]["reasons"][0]
    assert "after: 2 of the demands are outside training" in " ".join(call(file, *growth).stdout.split())


def test_exit_codes_say_whether_every_goal_is_met(file: Path) -> None:
    assert call(file, "--predictor", "analytic", "--json").exit_code == 0
    assert call(file, "--predictor", "analytic", "--scale-traffic", 2.4, "--json").exit_code == 1
    assert call(file, "--predictor", "analytic", "--fail-node", "b", "--json").exit_code == 1


def test_people_see_the_worst_demand_first(file: Path) -> None:
    result = call(file, "--fail-link", "b:c", "--scale-traffic", 1.6, "--predictor", "analytic", "--rows", 1)
    assert "fail-link b:c" in result.stdout
    assert "1 of 3 demands, worst first" in result.stdout
    assert "violated" in result.stdout


def test_all_link_failures_print_json_and_draw(file: Path, tmp_path: Path) -> None:
    plot = tmp_path / "survival.svg"
    options = ("--all-link-failures", "--processes", 1, "--predictor", "analytic", "--plot", plot, "--json")
    data = json.loads(call(file, *options).stdout)
    assert data["failures"] == len(data["links"]) == 4
    assert "<svg" in plot.read_text()


def test_upgrades_print_json(file: Path) -> None:
    data = json.loads(call(file, "--rank-upgrades", 2, "--predictor", "analytic", "--json").stdout)
    assert len(data["upgrades"]) == 2
    assert data["upgrades"][0]["upgraded_bps"] == 2 * data["upgrades"][0]["capacity_bps"]


@pytest.mark.parametrize(
    "options", [("--fallback", "hope"), ("--plot", "x.svg"), ("--all-link-failures", "--fail-link", "a:b")]
)
def test_options_that_do_not_go_together_are_refused(file: Path, options: tuple[str, ...]) -> None:
    assert isinstance(call(file, "--predictor", "analytic", *options).exception, InputError)
