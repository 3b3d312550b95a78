"""Labels are unique, stable and slow to come back."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.labels import FIRST_LABEL, LAST_LABEL, BypassOwner, Hop, LabelOwner, LabelTable, PathOwner
from topology_sync.errors import InputError, TransactionError


def owner(number: int) -> LabelOwner:
    hops = (Hop(1, number), Hop(2, 3))
    return PathOwner(number, number % 256, hops) if number % 2 else BypassOwner(Hop(9, number), hops)


def test_an_owner_keeps_its_label_and_labels_differ() -> None:
    table, first = LabelTable().allocate([owner(1), owner(2)])
    table, second = table.allocate([owner(2), owner(3), owner(1), owner(3)])
    assert len({*first, *second}) == 3
    assert second[0] == first[1]
    assert second[2] == first[0]
    assert second[1] == second[3]
    assert table.allocations == 3


@given(st.integers(0, 2**32 - 1))
def test_no_label_is_reused_while_held_or_in_quarantine(seed: int) -> None:
    chance = random.Random(seed)
    quarantine = chance.randint(1, 30)
    table = LabelTable(quarantine=quarantine, next_label=LAST_LABEL - chance.randint(0, 40))
    retired_at: dict[int, int] = {}
    for number in range(60):
        held = dict(table.owners)
        asked_at = table.allocations
        table, granted = table.allocate([owner(4 * number + extra) for extra in range(chance.randint(1, 4))])
        for position, label in enumerate(granted):
            assert FIRST_LABEL <= label <= LAST_LABEL
            assert label not in held
            assert asked_at + position - retired_at.pop(label, -quarantine) >= quarantine
        kept = {label for label in table.owners if chance.random() < 0.7}
        retired_at |= {label: table.allocations for label in table.owners if label not in kept}
        table = table.keep_only(kept)
        if chance.random() < 0.3:
            table = LabelTable.from_json(json.loads(json.dumps(table.to_json())))


def test_labels_come_round_but_only_after_the_quarantine() -> None:
    table = LabelTable(next_label=LAST_LABEL, quarantine=3)
    table, (last,) = table.allocate([owner(1)])
    table, (first,) = table.allocate([owner(2)])
    assert (last, first) == (LAST_LABEL, FIRST_LABEL)
    table = LabelTable(table.keep_only([]).owners, table.keep_only([]).retired, FIRST_LABEL, 2, 3)
    table, (other,) = table.allocate([owner(3)])
    assert other == FIRST_LABEL + 1


def test_labels_found_on_switches_are_avoided() -> None:
    table = LabelTable().avoid([FIRST_LABEL, FIRST_LABEL + 1, 3])
    table, (label,) = table.allocate([owner(1)])
    assert label == FIRST_LABEL + 2
    assert table.avoid([label]) is table


def test_running_out_of_labels_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.labels.LAST_LABEL", FIRST_LABEL + 2)
    table, _ = LabelTable().allocate([owner(1), owner(2), owner(3)])
    with pytest.raises(TransactionError, match="label"):
        table.allocate([owner(4)])
    with pytest.raises(TransactionError, match="until just now"):
        table.keep_only([]).allocate([owner(4)])


def test_the_table_survives_json() -> None:
    table, _ = LabelTable().allocate([owner(number) for number in range(9)])
    table = table.keep_only([FIRST_LABEL, FIRST_LABEL + 1])
    assert LabelTable.from_json(json.loads(json.dumps(table.to_json()))) == table


def test_something_else_is_refused() -> None:
    for data in ({}, {"paths": [[1]]}, {"paths": 3}):
        with pytest.raises(InputError, match="labels"):
            LabelTable.from_json(data)
