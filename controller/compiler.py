"""From intent to rules: a pure function that writes the forwarding pipeline of ARCHITECTURE.md for every switch."""

from __future__ import annotations

from controller.intent import NetworkIntent
from controller.rules import RuleSet


def compile_rules(intent: NetworkIntent) -> dict[int, RuleSet]:
    """The rules that every switch of the intent should have, by datapath id."""
    raise NotImplementedError
