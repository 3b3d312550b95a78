"""The policy does not care what things are called or in which units they are: it sees the network alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnn_model.analytic import AnalyticPredictor
from optimizer.candidates import CandidatePaths, UsableLinks
from optimizer.rl.features import (
    DEMAND_FEATURES,
    GLOBAL_FEATURES,
    LINK_FEATURES,
    MOVE_FEATURES,
    PolicyInput,
    global_features,
    policy_input,
)
from optimizer.rl.policy import PathPolicy, log_probabilities
from optimizer.rl.rerouting import Rerouting, Task, advance, begin
from optimizer.rl.training_scenarios import Question
from optimizer.screening import Move
from optimizer.settings import ClassGoal
from topology_sync.routing import PathShare, Routing
from topology_sync.topology import Topology
from topology_sync.traffic import TrafficMatrix
from topology_sync.values import float_array, int_array

PREDICTOR = AnalyticPredictor()


def trained_like() -> PathPolicy:
    """A policy whose heads say something, which fresh ones hardly do."""
    torch.manual_seed(5)
    policy = PathPolicy()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return policy.eval()


def started(question: Question, steps: int) -> tuple[Rerouting, list[Move]]:
    """A re-routing a few moves from its start, and what can be done next."""
    scenario = question.scenario
    candidates = CandidatePaths(scenario.topology, UsableLinks.all_of(scenario.topology))
    rerouting = begin(Task.of(scenario, question.table, candidates), PREDICTOR)[0]
    for step in range(steps):
        moves = rerouting.moves()
        advance([rerouting], [moves[(7 * step + 1) % len(moves)]], PREDICTOR)
    return rerouting, rerouting.moves()


def seen(rerouting: Rerouting, moves: list[Move]) -> PolicyInput:
    return policy_input(rerouting, moves, global_features(rerouting, 10.0, 1.0, 0.5))


def carried_over(rerouting: Rerouting, question: Question) -> Rerouting:
    """The re-routing of another way to put the same question, where it began and where it stands."""
    scenario = question.scenario
    candidates = CandidatePaths(scenario.topology, UsableLinks.all_of(scenario.topology))
    task = Task.of(scenario, question.table, candidates)
    prediction = PREDICTOR.predict(scenario.with_routing(rerouting.routing))
    return Rerouting(task, rerouting.routing, prediction)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 5), seed=st.integers(0, 10_000), steps=st.integers(0, 3))
def test_names_do_not_matter(small_questions: list[Question], number: int, seed: int, steps: int) -> None:
    question = small_questions[number]
    rerouting, moves = started(question, steps)
    policy = trained_like()
    random = np.random.default_rng(seed)
    topology, traffic = question.scenario.topology, question.scenario.traffic
    node_to = random.permutation(topology.node_count)  # new id of every old one
    link_order = random.permutation(topology.link_count)  # old id of every new one
    demand_order = random.permutation(traffic.demand_count)
    move_order = random.permutation(len(moves))
    link_to, demand_to = np.argsort(link_order), np.argsort(demand_order)
    renamed_topology = Topology(
        node_names=tuple(f"m{node}" for node in range(topology.node_count)),
        link_source=int_array(node_to[topology.link_source[link_order]]),
        link_target=int_array(node_to[topology.link_target[link_order]]),
        capacity_bps=float_array(topology.capacity_bps[link_order]),
        delay_s=float_array(topology.delay_s[link_order]),
        queue_packets=int_array(topology.queue_packets[link_order]),
        schedulers=tuple(topology.schedulers[old] for old in np.argsort(node_to)),
    )
    renamed_traffic = TrafficMatrix(
        class_names=traffic.class_names,
        source=int_array(node_to[traffic.source[demand_order]]),
        target=int_array(node_to[traffic.target[demand_order]]),
        traffic_class=int_array(traffic.traffic_class[demand_order]),
        rate_bps=float_array(traffic.rate_bps[demand_order]),
        packet_bits_mean=float_array(traffic.packet_bits_mean[demand_order]),
        packet_size=tuple(traffic.packet_size[old] for old in demand_order),
        arrivals=tuple(traffic.arrivals[old] for old in demand_order),
    )

    def renamed(routing: Routing) -> Routing:
        return Routing(
            tuple(
                tuple(PathShare(tuple(int(link_to[link]) for link in path.links), path.share) for path in paths)
                for paths in (routing.paths[old] for old in demand_order)
            )
        )

    scenario = replace(
        question.scenario,
        topology=renamed_topology,
        traffic=renamed_traffic,
        routing=renamed(question.scenario.routing),
    )
    other = carried_over(
        replace_routing(rerouting, renamed(rerouting.routing)), Question(scenario, question.classes, question.solvable)
    )
    other_moves = [
        Move(
            int(demand_to[move.demand]),
            tuple(PathShare(tuple(int(link_to[link]) for link in path.links), path.share) for path in move.paths),
        )
        for move in (moves[old] for old in move_order)
    ]
    with torch.inference_mode():
        mine = policy([seen(rerouting, moves)])
        theirs = policy([seen(other, other_moves)])
    assert mine.logit.std() > 1e-3
    torch.testing.assert_close(theirs.logit, mine.logit[torch.from_numpy(move_order)], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(theirs.value, mine.value, rtol=1e-3, atol=1e-3)
    # and moves found under the new names are the same moves, where no two paths are equally good
    assert {move.demand for move in other.moves()} == {int(demand_to[move.demand]) for move in moves}


def replace_routing(rerouting: Rerouting, routing: Routing) -> Rerouting:
    """A stand-in that only carries a routing."""
    stand_in = Rerouting.__new__(Rerouting)
    stand_in.routing = routing
    return stand_in


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 5), factor=st.sampled_from([1e-3, 0.37, 8.0, 100.0]), steps=st.integers(0, 3))
def test_units_do_not_matter(small_questions: list[Question], number: int, factor: float, steps: int) -> None:
    """As long as goals stay above the microsecond that counts as no time at all."""
    question = small_questions[number]
    rerouting, moves = started(question, steps)
    scenario = question.scenario
    topology = replace(
        scenario.topology,
        capacity_bps=float_array(scenario.topology.capacity_bps * factor),
        delay_s=float_array(scenario.topology.delay_s / factor),
    )
    goals = tuple(
        ClassGoal(
            goal.name,
            goal.priority,
            replace(
                goal.sla,
                delay_s=None if goal.sla.delay_s is None else goal.sla.delay_s / factor,
                jitter_s=None if goal.sla.jitter_s is None else goal.sla.jitter_s / factor,
            ),
        )
        for goal in question.classes
    )
    traffic = scenario.traffic.with_rates(float_array(scenario.traffic.rate_bps * factor))
    scaled = Question(replace(scenario, topology=topology, traffic=traffic), goals, question.solvable)
    other = carried_over(rerouting, scaled)
    policy = trained_like()
    with torch.inference_mode():
        mine, theirs = policy([seen(rerouting, moves)]), policy([seen(other, moves)])
    torch.testing.assert_close(theirs.logit, mine.logit, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(theirs.value, mine.value, rtol=1e-3, atol=1e-3)


def test_inputs_of_a_batch_do_not_see_each_other(small_questions: list[Question]) -> None:
    policy = trained_like()
    inputs = [seen(*started(question, 1)) for question in small_questions[:3]]
    with torch.inference_mode():
        together = policy(inputs)
        alone = [policy([item]) for item in inputs]
    torch.testing.assert_close(together.logit, torch.cat([scores.logit for scores in alone]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together.value, torch.cat([scores.value for scores in alone]), rtol=1e-4, atol=1e-4)
    chances = log_probabilities(together).exp()
    sums = torch.zeros(3).index_add(0, together.move_input, chances)
    torch.testing.assert_close(sums, torch.ones(3))


def test_every_feature_is_there_and_finite(small_questions: list[Question]) -> None:
    for question in small_questions:
        item = seen(*started(question, 2))
        for values, names in (
            (item.links, LINK_FEATURES),
            (item.demands, DEMAND_FEATURES),
            (item.moves, MOVE_FEATURES),
            (item.whole[None], GLOBAL_FEATURES),
        ):
            assert values.shape[1] == len(names)
            assert np.isfinite(values).all()
            assert np.abs(values).max() < 20


def test_a_fresh_policy_goes_by_the_rank(small_questions: list[Question]) -> None:
    """Training starts from the order that the local search goes by."""
    torch.manual_seed(1)
    item = seen(*started(small_questions[0], 0))
    with torch.inference_mode():
        logit = PathPolicy()([item]).logit.numpy()
    correlation = np.corrcoef(logit, item.moves[:, MOVE_FEATURES.index("log_rank")])[0, 1]
    assert correlation == pytest.approx(-1, abs=0.02)
