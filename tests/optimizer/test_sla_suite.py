"""The suite of SLA problems: made from seeds alone, with solutions where it says so, and judged packet by packet."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from optimizer import sla_suite, sla_suite_judging
from optimizer.sla_suite import JUDGING_SEED, Problem, build, checksum, entries, scenario_text, simulated, violated
from optimizer.sla_suite_files import MANIFEST, read_problem, write_problem
from optimizer.sla_suite_judging import KNOWN, METHODS, Judge, equal_cost_paths
from topology_sync.errors import InputError, ScenarioError
from topology_sync.scenario import Scenario
from topology_sync.scenario_json import scenario_from_json

FIRST = entries()[0]


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Problem, Path]:
    """The first problem, made once, and the folder it was written into."""
    folder = tmp_path_factory.mktemp("suite")
    write_problem(FIRST, folder)
    return read_problem(FIRST, folder), folder


def test_the_suite_is_what_was_promised() -> None:
    rows = entries()
    assert len(rows) >= 40
    assert len({entry.name for entry in rows}) == len(rows) == len({entry.seed for entry in rows})
    assert Counter(entry.test for entry in rows) == {True: 20, False: 20}
    assert Counter((entry.kind, entry.test) for entry in rows)["known", True] >= 10
    assert {entry.discipline for entry in rows} == {"fifo", "strict", "wfq", "drr"}
    assert {entry.source for entry in rows} == set(sla_suite.SOURCES)


def test_the_manifest_lists_every_problem_of_the_suite() -> None:
    rows = {row["name"]: row for row in json.loads(MANIFEST.read_text("utf-8"))["problems"]}
    of_suite = {entry.name: entry for entry in entries()}
    assert set(rows) == set(of_suite)
    assert len(rows) == 40
    for name, row in rows.items():
        entry = of_suite[name]
        assert (row["seed"], row["kind"], row["test"]) == (entry.seed, entry.kind, entry.test)
    assert min(row["nodes"] for row in rows.values()) == 12
    assert max(row["nodes"] for row in rows.values()) == 100


def test_a_problem_is_the_same_bytes_again(problem: tuple[Problem, Path]) -> None:
    made, folder = problem
    rows = {row["name"]: row for row in json.loads(MANIFEST.read_text("utf-8"))["problems"]}
    text = (folder / f"{FIRST.name}.json").read_text("utf-8")
    assert checksum(text) == rows[FIRST.name]["sha256"]
    assert scenario_text(made.scenario) == text
    assert scenario_from_json(json.loads(text)) == made.scenario


def test_shortest_paths_miss_goals_and_the_known_solution_keeps_them(problem: tuple[Problem, Path]) -> None:
    made, _ = problem
    judge = Judge(["shortest-path", KNOWN], [], 0.1, 1)
    assert judge.methods_of(made) == ["shortest-path", KNOWN]
    shortest, known = (judge.row(made, name) for name in judge.methods_of(made))
    assert shortest["violated"] >= sla_suite.LEAST_VIOLATED * shortest["demands"]
    assert sum(shortest["violated_by_class"].values()) == shortest["violated"]
    assert known["violated"] == 0
    assert known["max_utilisation"] < 0.86


def test_a_known_solution_keeps_them_with_other_packets_too(problem: tuple[Problem, Path]) -> None:
    made, _ = problem
    assert made.solution is not None
    routed = made.scenario.with_routing(made.solution)
    assert violated(routed, simulated(routed, JUDGING_SEED + 1)).mean() < 0.005


def test_plans_of_others_are_judged_by_their_name(problem: tuple[Problem, Path]) -> None:
    made, folder = problem
    judge = Judge(["ecmp"], [f"mine={folder / 'solutions'}"], 0.1, 1)
    assert judge.methods_of(made) == ["ecmp", "mine"]
    assert judge.row(made, "mine")["violated"] == 0
    with pytest.raises(InputError, match="--plans"):
        Judge(["ecmp"], ["ecmp=."], 0.1, 1)
    with pytest.raises(InputError, match="--method"):
        Judge(["oracle"], [], 0.1, 1)


def test_equal_cost_paths_split_evenly_at_every_node() -> None:
    from topology_sync.paths import fewest_hops_routing
    from topology_sync.topology import Link, Topology
    from topology_sync.traffic import Demand, TrafficMatrix

    pairs = [("s", "a"), ("s", "b"), ("a", "t"), ("b", "x"), ("a", "x"), ("x", "t"), ("b", "t")]
    topology = Topology.from_links("sabxt", [Link(a, b, 1e6) for a, b in pairs])
    traffic = TrafficMatrix.from_demands([Demand("s", "t", 1e5), Demand("b", "t", 1e5)], topology.node_index)
    scenario = Scenario("diamond", topology, traffic, fewest_hops_routing(topology, traffic))
    routing = equal_cost_paths(scenario, 1.0, 1)
    routing.check(topology, traffic)
    assert {path.links: path.share for path in routing.paths[0]} == {(0, 2): 0.5, (1, 6): 0.5}
    assert [path.links for path in routing.paths[1]] == [(6,)]


def test_every_method_answers_with_a_valid_routing(problem: tuple[Problem, Path]) -> None:
    made, _ = problem
    for name, method in METHODS.items():
        if not name.endswith("gnn"):
            method(made.scenario, 0.2, 1).check(made.scenario.topology, made.scenario.traffic)


def test_spreading_lowers_the_fullest_link(problem: tuple[Problem, Path]) -> None:
    scenario = problem[0].scenario
    spread = sla_suite.spread_routing(scenario.topology, scenario.traffic, np.random.default_rng(5))
    spread.check(scenario.topology, scenario.traffic)
    before = scenario.routing.max_utilisation(scenario.traffic, scenario.topology)
    assert spread.max_utilisation(scenario.traffic, scenario.topology) < before / 1.15


def test_a_problem_that_cannot_be_made_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sla_suite, "ATTEMPTS", 0)
    with pytest.raises(ScenarioError, match="cannot be made"):
        build(FIRST)


def test_a_missing_problem_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="suite generate"):
        read_problem(FIRST, tmp_path)


def test_the_table_counts() -> None:
    rows = [
        {"test": True, "kind": "known", "demands": 10, "violated": 0},
        {"test": False, "kind": "open", "demands": 20, "violated": 3},
    ]
    totals = sla_suite.totals(rows)
    assert totals["all"] == {"problems": 2, "demands": 30, "violated": 3, "solved": 1}
    assert totals["known, test"]["solved"] == 1
    assert "3 of 30 (1 of 2)" in sla_suite_judging.table({"x": totals})
