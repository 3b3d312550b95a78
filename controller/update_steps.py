"""From a difference of rules to steps that are safe for packets in flight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from controller.rules import FlowRule, GroupRule, RuleSet

StageName: TypeAlias = Literal["prepare", "flip", "drain", "clean"]


@dataclass(frozen=True)
class AddFlow:
    """OFPFC_ADD without RESET_COUNTS: replaces a flow with the same key at once and keeps its counters."""

    flow: FlowRule


@dataclass(frozen=True)
class DeleteFlow:
    """OFPFC_DELETE_STRICT by table, priority, match and full cookie of ``flow``."""

    flow: FlowRule


@dataclass(frozen=True)
class AddGroup:
    """OFPGC_ADD."""

    group: GroupRule


@dataclass(frozen=True)
class ModifyGroup:
    """OFPGC_MODIFY: changes buckets at once, flows that use the group stay."""

    group: GroupRule


@dataclass(frozen=True)
class DeleteGroup:
    """OFPGC_DELETE."""

    group_id: int


Message: TypeAlias = AddFlow | DeleteFlow | AddGroup | ModifyGroup | DeleteGroup
Stage: TypeAlias = Mapping[int, tuple[Message, ...]]


@dataclass(frozen=True)
class UpdatePlan:
    """Messages per switch and stage, in the order in which each switch must get them; ``drain`` is only a wait.

    ``installed`` is what the plan started from.  Switches without messages do not appear in a stage.
    """

    prepare: Stage
    flip: Stage
    clean: Stage
    installed: Mapping[int, RuleSet]

    @property
    def empty(self) -> bool:
        """Whether nothing is to be sent."""
        return not (self.prepare or self.flip or self.clean)

    @property
    def needs_drain(self) -> bool:
        """Whether packets of the old rules may still be on their way when ``clean`` would begin."""
        raise NotImplementedError


def plan_update(installed: Mapping[int, RuleSet], desired: Mapping[int, RuleSet]) -> UpdatePlan:
    """The steps from what the switches have to what they should have; empty when that is the same.

    Only switches in ``desired`` get messages.  Raises TransactionError when a flow of somebody else stands where one
    of ours belongs.
    """
    raise NotImplementedError


def undo(plan: UpdatePlan, stage: Literal["prepare"] = "prepare") -> Stage:
    """Messages that take ``stage`` back, whether or not all of it was carried out."""
    raise NotImplementedError
