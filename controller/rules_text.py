"""Rules as JSON for people to read."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from controller.rules import Action, RuleSet
from topology_sync.cookies import OURS


def rules_to_json(rules: RuleSet) -> dict[str, Any]:
    """Our flows by table and falling priority, then groups by id."""
    own = [flow for flow in rules.flows.values() if flow.cookie & OURS.mask == OURS.value]
    flows = sorted(own, key=lambda flow: (flow.table, -flow.priority, str(flow.match)))
    return {
        "flows": [
            {
                "table": flow.table,
                "priority": flow.priority,
                "cookie": f"{flow.cookie:#018x}",
                "match": {name: value for name, value in asdict(flow.match).items() if value is not None},
                "actions": [_action(action) for action in flow.actions],
                **({} if flow.write_metadata is None else {"write_metadata": flow.write_metadata}),
                **({} if flow.goto_table is None else {"goto_table": flow.goto_table}),
            }
            for flow in flows
        ],
        "groups": [
            {
                "group_id": f"{group.group_id:#x}",
                "kind": group.kind,
                "buckets": [
                    {"weight": one.weight, "watch_port": one.watch_port, "actions": [*map(_action, one.actions)]}
                    for one in group.buckets
                ],
            }
            for group in sorted(rules.groups.values(), key=lambda group: group.group_id)
        ],
    }


def _action(action: Action) -> str:
    in_hexadecimal = ("group_id", "ethertype")
    values = [f"{value:#x}" if name in in_hexadecimal else str(value) for name, value in asdict(action).items()]
    return f"{type(action).__name__}({', '.join(values)})"
