"""What the loop promises in every run, shown on random histories, and its single steps."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.goals import Score
from optimizer.loop_state import advance
from optimizer.loop_values import (
    Action,
    Apply,
    AwaitApproval,
    Close,
    Command,
    Finished,
    Keep,
    LoopState,
    Observation,
    Proposal,
    Refuse,
    RollBack,
    Snapshot,
    StartSearch,
)
from optimizer.settings import SafetySettings

SAFETY = SafetySettings(hold_s=5, violations_to_act=3, min_interval_s=30, max_changes=3, verify_s=10)
KEYS = [("a", "b", f"class{number}") for number in range(6)]


def seen(time_s: float, violation: float = 0.0, **more: object) -> Snapshot:
    base = Snapshot(time_s, time_s - 2, 1, 1, True, violation, violation == 0, 0.2)
    return replace(base, **more)  # type: ignore[arg-type]


def plan(search: StartSearch, before: float = 2.0, after: float = 0.0, changed: int = 1, broken: int = 0) -> Proposal:
    keys = frozenset(KEYS[:changed])
    return Proposal(
        search.decision, 1, 1, Score(before, 0.9, 0), Score(after, 0.8, changed), keys, frozenset(KEYS[:broken])
    )


def until_search(state: LoopState, start_s: float, violation: float = 2.0) -> tuple[LoopState, StartSearch, float]:
    for second in range(200):
        now = start_s + second
        state, actions = advance(state, Observation(seen(now, violation)), SAFETY, now)
        for action in actions:
            if isinstance(action, StartSearch):
                return state, action, now
    raise AssertionError("no search began")


def applied(mode: str = "auto") -> tuple[LoopState, float]:
    state, search, now = until_search(LoopState(mode=mode), 0.0)  # type: ignore[arg-type]
    state, actions = advance(state, Observation(seen(now, 2.0), plan(search)), SAFETY, now)
    assert actions == (Apply(search.decision),)
    finished = Finished(search.decision, True, now + 1)
    state, _ = advance(state, Observation(seen(now + 1, 2.0), finished=finished), SAFETY, now + 1)
    assert state.phase == "verifying"
    return state, now + 1


def test_a_violation_must_last_and_be_seen_often_enough() -> None:
    _, search, now = until_search(LoopState(mode="auto"), 100.0)
    assert now == 105.0
    assert search.trigger.kind == "sla"
    assert search.trigger.first_measured_s == 100.0


def test_a_short_violation_starts_nothing() -> None:
    state = LoopState(mode="auto")
    for second in range(100):
        state, actions = advance(state, Observation(seen(second, 1.0 if second % 8 < 4 else 0.0)), SAFETY, second)
        assert actions == ()


def test_the_same_snapshot_counts_once() -> None:
    state = LoopState(mode="auto")
    for tick in range(50):
        state, actions = advance(state, Observation(seen(1.0, 1.0)), SAFETY, 1.0 + tick)
        assert actions == ()
    assert state.violation_count == 1


def test_measured_better_is_kept_and_measured_worse_goes_back() -> None:
    state, now = applied()
    better, actions = advance(state, Observation(seen(now + 20, 0.0)), SAFETY, now + 20)
    assert isinstance(actions[0], Keep)
    assert better.phase == "observing"
    for more in range(3):
        state, actions = advance(state, Observation(seen(now + 20 + more, 9.0)), SAFETY, now + 20 + more)
    assert isinstance(actions[0], RollBack)
    state, actions = advance(state, Observation(finished=Finished(1, True, now + 23)), SAFETY, now + 23)
    assert isinstance(actions[0], Close)
    assert actions[0].verdict == "rolled_back"
    assert state.hold_downs["sla"].until_s == now + 23 + SAFETY.min_interval_s


def test_only_measurements_wholly_after_the_change_count() -> None:
    state, now = applied()
    stale = seen(now + 20, 9.0, window_start_s=now - 1)
    for more in range(10):
        state, actions = advance(state, Observation(replace(stale, time_s=now + 20 + more)), SAFETY, now + 20 + more)
        assert actions == ()


def test_a_new_violation_waits_for_the_interval() -> None:
    state, now = applied()
    state, actions = advance(state, Observation(seen(now + 11, 0.0)), SAFETY, now + 11)
    assert isinstance(actions[0], Keep)
    _, _, again = until_search(state, now + 12)
    assert again - state.last_applied_s >= SAFETY.min_interval_s  # type: ignore[operator]


def test_a_plan_with_too_many_changes_is_not_applied() -> None:
    state, search, now = until_search(LoopState(mode="auto"), 0.0)
    for changed, kind in ((SAFETY.max_changes, Apply), (SAFETY.max_changes + 1, Close)):
        _, actions = advance(state, Observation(seen(now, 2.0), plan(search, changed=changed)), SAFETY, now)
        assert isinstance(actions[0], kind)
    repaired = plan(search, changed=SAFETY.max_changes + 2, broken=2)
    _, actions = advance(state, Observation(seen(now, 2.0), repaired), SAFETY, now)
    assert isinstance(actions[0], Apply)


def weighing(search: StartSearch, demands: int = 0, weights: int = 1) -> Proposal:
    base = plan(search, changed=demands)
    after = base.after._replace(changed_weights=weights)
    return replace(base, after=after, changed_nodes=frozenset({"n1", "n2"}))


def test_a_plan_may_change_nothing_but_queue_weights() -> None:
    state, search, now = until_search(LoopState(mode="auto"), 0.0)
    assert search.frozen_nodes == frozenset()
    state, actions = advance(state, Observation(seen(now, 2.0), weighing(search)), SAFETY, now)
    assert actions == (Apply(search.decision),)
    assert state.node_changed_s == {"n1": now, "n2": now}


def test_weights_count_as_changes_as_the_search_counts_them() -> None:
    for demands, weights, allowed in ((2, 1, True), (3, 1, False), (0, 4, False)):
        state, search, now = until_search(LoopState(mode="auto"), 0.0)
        proposal = weighing(search, demands, weights)
        state, actions = advance(state, Observation(seen(now, 2.0), proposal), SAFETY, now)
        assert isinstance(actions[0], Apply) == allowed
        if not allowed:
            assert isinstance(actions[0], Close)
            assert "times queue weights, 3 changes are allowed" in actions[0].reason


def test_weights_that_were_just_changed_are_left_alone() -> None:
    recent = LoopState(mode="auto", node_changed_s={"n1": -20.0, "n9": -40.0})
    state, search, now = until_search(recent, 0.0)
    assert search.frozen_nodes == frozenset({"n1"})
    _, actions = advance(state, Observation(seen(now, 2.0), weighing(search)), SAFETY, now)
    assert isinstance(actions[0], Close)
    assert actions[0].reason == "the plan changes the queue weights of n1 again too soon"


def test_news_of_another_transaction_is_ignored() -> None:
    state, search, now = until_search(LoopState(mode="auto"), 0.0)
    state, _ = advance(state, Observation(seen(now, 2.0), plan(search)), SAFETY, now)
    other = Finished(search.decision + 1, False, now)
    assert advance(state, Observation(finished=other), SAFETY, now + 1)[0].phase == "applying"


def test_a_verification_without_controller_ends() -> None:
    state, now = applied()
    state, actions = advance(state, Observation(), SAFETY, now + 500)
    assert isinstance(actions[0], Keep)
    assert not actions[0].verified


def test_holding_down_doubles_and_the_same_failure_is_recorded_once() -> None:
    state = LoopState(mode="auto")
    waits, records, last = [], [], 0.0
    for _ in range(4):
        state, search, now = until_search_long(state, last)
        waits.append(now - last)
        nothing = plan(search, before=2.0, after=2.0, changed=0)
        state, actions = advance(state, Observation(seen(now, 2.0), nothing), SAFETY, now)
        records.append(actions[0].record)  # type: ignore[union-attr]
        last = now
    assert waits[1:] == [30, 60, 120]
    assert records == [True, False, False, False]


def until_search_long(state: LoopState, start_s: float) -> tuple[LoopState, StartSearch, float]:
    for second in range(1, 2000):
        now = start_s + second
        state, actions = advance(state, Observation(seen(now, 2.0)), SAFETY, now)
        for action in actions:
            if isinstance(action, StartSearch):
                return state, action, now
    raise AssertionError("no search began")


def test_broken_paths_act_at_once_and_within_the_interval() -> None:
    state, now = applied()
    broken = seen(now + 1, 5.0, broken=frozenset(KEYS[:2]), topology_version=2, settled=False)
    state, actions = advance(state, Observation(broken), SAFETY, now + 1)
    assert isinstance(actions[0], Keep)
    search = actions[1]
    assert isinstance(search, StartSearch)
    assert search.trigger.kind == "topology"
    assert search.max_changes == 0
    found = replace(plan(search, changed=2, broken=2), topology_version=2)
    state, actions = advance(state, Observation(broken, found), SAFETY, now + 2)
    assert actions == (Apply(search.decision),)


def test_a_proposal_lapses_when_the_network_changes() -> None:
    state, search, now = until_search(LoopState(mode="advise"), 0.0)
    state, actions = advance(state, Observation(seen(now, 2.0), plan(search)), SAFETY, now)
    assert actions == (AwaitApproval(search.decision),)
    changed = seen(now + 1, 2.0, routing_version=2)
    approve = Command("approve", search.decision)
    state, actions = advance(state, Observation(changed, commands=(approve,)), SAFETY, now + 1)
    assert [type(action) for action in actions[:2]] == [Close, Refuse]


def test_paused_does_nothing_not_even_for_broken_paths() -> None:
    state = LoopState(mode="paused")
    for second in range(50):
        snapshot = seen(second, 5.0, broken=frozenset(KEYS))
        state, actions = advance(state, Observation(snapshot), SAFETY, second)
        assert actions == ()


def test_a_better_plan_needs_a_full_network_and_a_clear_gain() -> None:
    state = LoopState(mode="auto")
    state, actions = advance(state, Observation(seen(1.0, max_utilisation=0.3)), SAFETY, 1.0)
    assert actions == ()
    for time_s in (2.0, 4.0, 6.0):
        state, actions = advance(state, Observation(seen(time_s, max_utilisation=0.8)), SAFETY, time_s)
        assert actions == ()
    state, actions = advance(state, Observation(seen(7.0, max_utilisation=0.8)), SAFETY, 7.0)
    search = actions[0]
    assert isinstance(search, StartSearch)
    assert search.trigger.kind == "better_plan"
    small = replace(plan(search, 0.0, 0.0), before=Score(0, 0.80, 0), after=Score(0, 0.75, 1))
    _, actions = advance(state, Observation(seen(8.0, max_utilisation=0.8), small), SAFETY, 8.0)
    assert isinstance(actions[0], Close)
    large = replace(small, after=Score(0, 0.6, 1))
    _, actions = advance(state, Observation(seen(8.0, max_utilisation=0.8), large), SAFETY, 8.0)
    assert isinstance(actions[0], Apply)


def test_links_that_are_full_for_a_moment_are_no_reason_for_a_better_plan() -> None:
    """Traffic that is just growing breaks a promise next, or is gone again: neither is a state to plan for."""
    state = LoopState(mode="auto")
    for time_s, utilisation in ((1.0, 0.8), (3.0, 0.9), (5.0, 0.3), (7.0, 0.9), (9.0, 0.9), (11.0, 0.9)):
        state, actions = advance(state, Observation(seen(time_s, max_utilisation=utilisation)), SAFETY, time_s)
        assert actions == ()


step = st.fixed_dictionaries(
    {
        "dt": st.sampled_from([0.5, 1.0, 3.0, 12.0, 40.0]),
        "absent": st.sampled_from([False] * 15 + [True]),
        "violation": st.sampled_from([0.0, 0.0, 1.0, 2.0, 8.0]),
        "settled": st.sampled_from([True] * 9 + [False]),
        "topology": st.sampled_from([0] * 19 + [1]),
        "broken": st.sampled_from([0] * 9 + [2]),
        "displaced": st.sampled_from([0] * 9 + [1]),
        "utilisation": st.sampled_from([0.2, 0.9]),
        "answer": st.sampled_from([True, True, True, False]),
        "changed": st.integers(0, 5),
        "after": st.sampled_from([0.0, 1.0, 5.0]),
        "ok": st.sampled_from([True, True, True, False]),
        "stale": st.booleans(),
        "error": st.sampled_from([None] * 9 + ["the search failed"]),
        "command": st.sampled_from([None] * 6 + ["approve", "rollback", "auto", "advise", "paused"]),
    }
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["advise", "auto"]), st.lists(step, max_size=60))
def test_promises_hold_in_every_run(mode: str, steps: list[dict[str, object]]) -> None:
    state = LoopState(mode=mode)  # type: ignore[arg-type]
    now, topology, routing = 1000.0, 1, 1
    searching: tuple[StartSearch, int, int] | None = None
    transaction: int | None = None
    waiting: int | None = None
    undecided: int | None = None
    last_applied = -1e9
    proposals: dict[int, Proposal] = {}
    triggers: dict[int, str] = {}
    for given_step in steps:
        now += given_step["dt"]  # type: ignore[operator]
        topology += given_step["topology"]  # type: ignore[operator]
        broken = frozenset(KEYS[: given_step["broken"]])  # type: ignore[misc]
        snapshot = Snapshot(
            now,
            now - 5,
            topology,
            routing,
            bool(given_step["settled"]),
            float(given_step["violation"]),  # type: ignore[arg-type]
            given_step["violation"] == 0,
            float(given_step["utilisation"]),  # type: ignore[arg-type]
            broken,
            frozenset(KEYS[5:]) if given_step["displaced"] else frozenset(),
        )
        proposal = finished = None
        approved: int | None = None
        commands: tuple[Command, ...] = ()
        if given_step["answer"] and searching is not None:
            search, topology_then, routing_then = searching
            changed = frozenset(KEYS[: given_step["changed"]])  # type: ignore[misc]
            proposal = Proposal(
                search.decision,
                topology_then,
                routing_then,
                Score(3.0, 0.9, 0),
                Score(float(given_step["after"]), 0.5, len(changed)),  # type: ignore[arg-type]
                changed,
                changed & broken,
                given_step["error"],  # type: ignore[arg-type]
            )
            proposals[search.decision] = proposal
            searching = None
        if given_step["answer"] and transaction is not None:
            ok = bool(given_step["ok"])
            finished = Finished(transaction, ok, now, bool(given_step["stale"]) and not ok, None if ok else "no")
            routing += ok
            transaction = None
        command = given_step["command"]
        if command in ("approve", "rollback"):
            approved = waiting if command == "approve" else None
            commands = (Command(command, waiting if command == "approve" else None),)  # type: ignore[arg-type]
        elif command is not None:
            commands = (Command("mode", mode=command),)  # type: ignore[arg-type]
        observed = Observation(None if given_step["absent"] else snapshot, proposal, finished, commands)
        state, actions = advance(state, observed, SAFETY, now)
        for action in actions:
            match action:
                case StartSearch():
                    assert searching is None
                    assert transaction is None
                    assert undecided is None
                    searching = (action, topology, routing)
                    triggers[action.decision] = action.trigger.kind
                case AwaitApproval():
                    waiting = action.decision
                case Apply():
                    found = proposals[action.decision]
                    assert transaction is None
                    assert undecided is None
                    assert state.mode == "auto" or approved == action.decision, "applied without approval"
                    only_repairs = triggers[action.decision] == "topology" and found.changed <= found.repaired
                    assert now - last_applied >= SAFETY.min_interval_s or only_repairs
                    assert len(found.changed - found.repaired) <= SAFETY.max_changes
                    transaction = undecided = action.decision
                    waiting = None
                    last_applied = now
                case Keep():
                    assert action.decision == undecided
                    undecided = None
                case RollBack():
                    assert transaction is None
                    transaction = undecided = action.decision
                    last_applied = now
                case Close():
                    if action.decision == undecided:
                        assert action.verdict in ("failed", "withdrawn", "rolled_back", "rollback_failed")
                        undecided = None
                    waiting = None if waiting == action.decision else waiting
                case Refuse():
                    pass
        assert_quiet(state, actions, transaction, undecided)
    # left alone, everything that was applied gets its verdict
    for _ in range(5):
        now += 200
        finished = Finished(transaction, True, now) if transaction is not None else None
        transaction = None
        state, actions = advance(replace(state, mode="paused"), Observation(finished=finished), SAFETY, now)
        for action in actions:
            if isinstance(action, Keep | Close) and action.decision == undecided:
                undecided = None
            if isinstance(action, RollBack):
                transaction = action.decision
    assert undecided is None


def assert_quiet(state: LoopState, actions: tuple[Action, ...], transaction: int | None, undecided: int | None) -> None:
    """The phase agrees with what is under way."""
    assert (transaction is not None) == (state.phase in ("applying", "rolling_back"))
    assert (undecided is not None) == (state.phase in ("applying", "verifying", "rolling_back"))
    assert sum(isinstance(action, Apply | RollBack) for action in actions) <= 1


def test_without_predictor_no_search_begins() -> None:
    state = LoopState(mode="auto")
    for second in range(20):
        state, actions = advance(state, Observation(seen(second, 2.0), predictor_up=False), SAFETY, second)
        assert actions == ()
    _, actions = advance(state, Observation(seen(20, 2.0)), SAFETY, 20)
    assert isinstance(actions[0], StartSearch)


def test_a_predictor_that_goes_away_during_a_search_speaks_against_no_plan() -> None:
    state, search, now = until_search(LoopState(mode="auto"), 0.0)
    away = replace(plan(search), error="no predictor answers at x:1", unavailable=True)
    state, actions = advance(state, Observation(seen(now, 2.0), away, predictor_up=False), SAFETY, now)
    assert actions == (Close(search.decision, "withdrawn", "no predictor answers at x:1", record=False),)
    assert state.hold_downs["sla"].count == 0
    state, actions = advance(state, Observation(seen(now + 3, 2.0)), SAFETY, now + 3)
    assert isinstance(actions[0], StartSearch)
