"""Deciding from the past: never from the future, within the re-routing budget, and better than the last optimum."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from optimizer import bench_commands
from optimizer.moving_traffic.drawn_series import draw_matrices, write_series
from optimizer.moving_traffic.hedging import HedgeSettings, hedged_shares, minimum_utilisation
from optimizer.moving_traffic.outlook import outlook, recency_weights
from optimizer.moving_traffic.recorded_series import read_series
from optimizer.moving_traffic.replay import LastOptimum, OnlineController, replay
from optimizer.moving_traffic.tunnels import TunnelSet, rerouted_ratio
from tests.benchmarks import BENCHMARKS
from topology_sync.errors import InputError, ScenarioError
from topology_sync.topology import Link, Topology
from topology_sync.values import FloatArray

GEANT = BENCHMARKS / "geant"


def ring(nodes: int = 5) -> TunnelSet:
    """A ring with one chord, all pairs, own tunnels."""
    names = [f"n{i}" for i in range(nodes)]
    ends = [(i, (i + 1) % nodes) for i in range(nodes)] + [(0, nodes // 2)]
    links = [Link(names[x], names[y], 1e9 if i % 2 else 4e8) for i, p in enumerate(ends) for x, y in (p, p[::-1])]
    topology = Topology.from_links(names, links)
    return TunnelSet.own(topology, [(a, b) for a in range(nodes) for b in range(nodes) if a != b])


def series(tunnels: TunnelSet, seed: int, count: int = 8) -> FloatArray:
    """Lognormal rates that change from matrix to matrix."""
    random = np.random.default_rng(seed)
    mean = random.lognormal(17, 1.0, tunnels.pair_count)
    return mean * random.lognormal(0, 0.5, (count, tunnels.pair_count))


def decisions(tunnels: TunnelSet, matrices: FloatArray, count: int) -> list[FloatArray]:
    """The shares decided for intervals 0 to count - 1."""
    controller = OnlineController(tunnels)
    shares = []
    for index in range(count):
        if index:
            controller.observe(matrices[index - 1])
        shares.append(controller.decide())
    return shares


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(max_examples=8, deadline=None)
def test_decisions_never_read_the_future(seed: int, known: int) -> None:
    tunnels = ring()
    matrices = series(tunnels, seed)
    other = matrices.copy()
    other[known:] = series(tunnels, seed + 1)[known:] * 7
    ours = [replace(step, seconds=0) for step in replay(tunnels, matrices, np.ones(8), 0, known + 1)]
    theirs = [replace(step, seconds=0) for step in replay(tunnels, other, np.ones(8), 0, known + 1)]
    assert ours[:known] == theirs[:known]
    for mine, yours in zip(decisions(tunnels, matrices, known + 1), decisions(tunnels, other, known + 1), strict=True):
        assert np.array_equal(mine, yours)


@given(st.integers(0, 10_000), st.floats(0.02, 0.5))
@settings(max_examples=12, deadline=None)
def test_the_budget_holds_for_any_next_matrix(seed: int, budget: float) -> None:
    tunnels = ring()
    random = np.random.default_rng(seed)
    present = tunnels.normalised(random.random(tunnels.tunnel_count) ** 4)
    history = list(series(tunnels, seed, 4))
    view = outlook(history)
    optimum = np.array([minimum_utilisation(tunnels, matrix)[0] for matrix in history])
    shares = hedged_shares(tunnels, view, optimum, present, HedgeSettings(reroute_budget=budget))
    assert tunnels.share_moved(present, shares).max() <= budget + 1e-9
    assert rerouted_ratio(tunnels, present, shares, random.pareto(0.5, tunnels.pair_count)) <= budget + 1e-9
    assert np.bincount(tunnels.tunnel_pair, weights=shares) == pytest.approx(np.ones(tunnels.pair_count))
    assert shares.min() >= -1e-12
    assert tunnels.share_moved(present, shares).max() > 1e-3  # it does use what it may


def test_traffic_that_repeats_is_routed_as_well_as_if_it_were_known() -> None:
    tunnels = ring()
    matrices = np.tile(series(tunnels, 3, 1), (8, 1))
    best = minimum_utilisation(tunnels, matrices[0])[0]
    last = list(replay(tunnels, matrices, np.full(8, best), 0, 8))[-1]
    assert 1 - 1e-9 <= last.max_utilisation / best < 1.02


def test_moving_traffic_is_routed_better_than_by_the_last_optimum() -> None:
    tunnels = ring(6)
    matrices = series(tunnels, 11, 30)
    optimum = [minimum_utilisation(tunnels, matrix)[0] for matrix in matrices]
    ratios = [
        np.array([s.max_utilisation / s.optimum for s in replay(tunnels, matrices, optimum, 4, 26, controller)])
        for controller in (OnlineController(tunnels), LastOptimum(tunnels))
    ]
    assert ratios[0].min() >= 1 - 1e-6
    assert ratios[0].mean() < ratios[1].mean()
    assert np.percentile(ratios[0], 95) < np.percentile(ratios[1], 95)


def test_pairs_that_burst_are_spread() -> None:
    names = ["a", "b", "c", "d"]
    pairs = [("a", "b"), ("b", "d"), ("a", "c"), ("c", "d")]
    topology = Topology.from_links(names, [Link(x, y, 1e9) for x, y in pairs])
    ways = [tuple(topology.links_between[hop][0] for hop in way) for way in (((0, 1), (1, 3)), ((0, 2), (2, 3)))]
    tunnels = TunnelSet.of_paths(topology, {(0, 3): ways, (0, 1): [ways[0][:1]]})
    steady = np.array([4e8, 1e8])  # pairs in order: a-b alone, a-d over b or c
    burst = steady.copy()
    burst[1] = 9e8
    history = [burst, *([steady] * 20)]
    optimum = np.array([minimum_utilisation(tunnels, matrix)[0] for matrix in history[-12:]])
    shares = hedged_shares(tunnels, outlook(history), optimum, None)
    over_b = shares[tunnels.tunnels_of_pair[0]]
    assert tunnels.utilisation(shares, burst).max() < 1.0
    assert 0 <= over_b < 0.6


def test_own_tunnels_give_every_pair_ways_that_share_no_link() -> None:
    tunnels = ring(6)
    for pair in range(tunnels.pair_count):
        ways = [
            set(tunnels.hop_link[tunnels.hop_tunnel == tunnel].tolist())
            for tunnel in np.nonzero(tunnels.tunnel_pair == pair)[0]
        ]
        assert any(not one & other for one in ways for other in ways)


def test_recency_weights_sum_to_one_and_favour_the_newest() -> None:
    weight = recency_weights(5, 0.8)
    assert weight.sum() == pytest.approx(1)
    assert weight[-1] / weight[-2] == pytest.approx(1.25)


# the recorded series and the command


def write_network(directory: Path) -> None:
    graph = {
        "directed": False,
        "nodes": [{"id": 0}, {"id": 1}, {"id": 2}],
        "links": [{"source": a, "target": b, "capacity": 1e9} for a, b in ((0, 1), (1, 2), (0, 2))],
    }
    (directory / "net.json").write_text(json.dumps(graph))
    rows = [[0, 5e8 + step * 1e7, 2e8, 1e8, 0, 1e8, 0, 3e8, 0] for step in range(6)]
    (directory / "week.hist").write_text("\n".join(" ".join(str(value) for value in row) for row in rows) + "\n")


def online(*arguments: object) -> dict[str, list[dict[str, float]]]:
    group = typer.Typer(pretty_exceptions_enable=False)
    bench_commands.register_bench(group)
    group.callback()(lambda: None)
    result = CliRunner().invoke(group, ["online", *(str(argument) for argument in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return json.loads(result.stdout)


def test_the_command_answers_as_the_contract_says_without_tunnels_and_optimum(tmp_path: Path) -> None:
    write_network(tmp_path)
    steps = online(tmp_path, "--series", "week", "--first", 2, "--count", 3, "--json")["steps"]
    assert [step["index"] for step in steps] == [2, 3, 4]
    for step in steps:
        assert set(step) == {"index", "max_utilisation", "optimum", "traffic_rerouted_ratio", "seconds"}
        assert 1 - 1e-9 <= step["max_utilisation"] / step["optimum"] < 1.2
        assert 0 <= step["traffic_rerouted_ratio"] <= 0.2


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("net.json", "{}", "is no network"),
        ("week.hist", "1 2 3\n", "line 1"),
        ("week.hist", "0 1 x\n", "line 1"),
        ("week.opt", "1\n", "optimum"),
        ("tunnels.txt", "0 1: 0-2\n", "line 1"),
        ("tunnels.txt", "0 1: 0-1\n", "no tunnel"),
    ],
)
def test_faults_in_files_are_named(tmp_path: Path, file: str, content: str, words: str) -> None:
    write_network(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(ScenarioError, match=words):
        read_series(tmp_path, "week")


def test_a_series_that_is_not_there_and_a_first_beyond_its_end_are_refused(tmp_path: Path) -> None:
    write_network(tmp_path)
    with pytest.raises(ScenarioError, match="choose of week"):
        read_series(tmp_path, "../week")
    with pytest.raises(InputError, match="--first"):
        online(tmp_path, "--series", "week", "--first", 6, "--json")


@pytest.mark.skipif(not GEANT.is_dir(), reason=f"no benchmark data in {GEANT} (ROUTEWRIGHT_BENCHMARKS)")
def test_geant_optima_are_the_published_ones_and_decisions_stay_close() -> None:
    recorded = read_series(GEANT, "train_5")
    assert recorded.optimum is not None
    for index in (0, 7, 15):
        ours = minimum_utilisation(recorded.tunnels, recorded.matrices[index])[0]
        assert ours == pytest.approx(recorded.optimum[index], rel=1e-6)
    steps = list(replay(recorded.tunnels, recorded.matrices, recorded.optimum, 1, 15))
    assert np.mean([step.max_utilisation / step.optimum for step in steps]) < 1.03
    assert max(step.traffic_rerouted_ratio for step in steps) <= 0.2


def test_series_of_cfr_rl_are_read_in_bits_per_second(tmp_path: Path) -> None:
    links = "".join(
        f"{2 * n + back}\t{(a, b)[back]}\t{(b, a)[back]}\t1\t1000\n"
        for n, (a, b) in enumerate([(0, 1), (1, 2)])
        for back in (0, 1)
    )
    (tmp_path / "net").write_text(
        f"Node_num: 3\tEdge_num: 4\nLink_index\tSource\tDestination\tOSPF\tCapacity(kbps)\n{links}"
    )
    (tmp_path / "netTM").write_text("9 3 0 0 0 6 0 0 0\n0 0 3 0 0 0 0 0 0\n")
    recorded = read_series(tmp_path, "net")
    tunnels = recorded.tunnels
    assert tunnels.topology.capacity_bps.tolist() == [1e6] * 4
    rates = {
        (int(source), int(target)): recorded.matrices[:, pair].tolist()
        for pair, (source, target) in enumerate(zip(tunnels.pair_source, tunnels.pair_target, strict=True))
    }
    assert rates[0, 1] == pytest.approx([8.0, 0.0])  # 3 x 100 bytes in 300 s
    assert rates[1, 2] == pytest.approx([16.0, 0.0])
    assert rates[0, 2] == pytest.approx([0.0, 8.0])
    for wrong in (
        "Node_num: 3\n",
        "Node_num: 3\tEdge_num: 5\nh\n0 0 1 1 5\n",
        "Node_num: 3\tEdge_num: 1\nh\n0 0 7 1 5\n",
    ):
        (tmp_path / "net").write_text(wrong)
        with pytest.raises(ScenarioError):
            read_series(tmp_path, "net")


def test_drawn_series_repeat_by_seed_swing_by_day_and_can_be_replayed(tmp_path: Path) -> None:
    network = ring(4).topology
    drawn = draw_matrices(network, 96, 5)
    assert np.array_equal(drawn, draw_matrices(network, 96, 5))
    assert not np.array_equal(drawn, draw_matrices(network, 96, 6))
    total = drawn.sum(axis=(1, 2))
    assert total[12:36].mean() > 1.5 * total[60:84].mean()  # the busy and the quiet quarter of the sine
    write_series(network, drawn, tmp_path, "drawn")
    steps = online(tmp_path, "--series", "drawn", "--first", 1, "--count", 2, "--json")["steps"]
    assert [step["index"] for step in steps] == [1, 2]
    assert all(step["max_utilisation"] >= step["optimum"] * (1 - 1e-6) for step in steps)


def test_networks_without_links_and_optima_of_silence_are_told_apart(tmp_path: Path) -> None:
    write_network(tmp_path)
    width = len((tmp_path / "week.hist").read_text().split("\n")[0].split())
    (tmp_path / "week.hist").write_text("\n".join(" ".join(["0"] * width) for _ in range(3)))
    (tmp_path / "week.opt").write_text("0\n0\n0\n")
    assert read_series(tmp_path, "week").optimum is not None
    (file,) = tmp_path.glob("*.json")
    file.write_text('{"nodes": [{"id": "a"}], "links": []}')
    (tmp_path / "week.hist").write_text("0\n0\n")
    with pytest.raises(ScenarioError, match="connects no two nodes"):
        read_series(tmp_path, "week")
    file.write_text("[" * 100_000)
    with pytest.raises(ScenarioError, match="is no network"):
        read_series(tmp_path, "week")
