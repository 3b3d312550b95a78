"""The suite's problems as files, and the manifest of their checksums that is shipped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optimizer.sla_suite import Entry, Problem, build, checksum, manifest_row, scenario_text
from topology_sync.errors import ScenarioError
from topology_sync.plan import RoutingPlan
from topology_sync.plan_json import plan_from_json, plan_routes, plan_to_json, routing_with_plan
from topology_sync.scenario_json import read_scenario

FORMAT = "routewright-suite/1"
MANIFEST = Path(__file__).parent / "sla_suite.json"


def read_manifest(path: Path = MANIFEST) -> dict[str, dict[str, Any]]:
    """Rows of the manifest by name; none where it is not there."""
    if not path.exists():
        return {}
    return {row["name"]: row for row in json.loads(path.read_text("utf-8"))["problems"]}


def write_manifest(rows: Mapping[str, dict[str, Any]], path: Path = MANIFEST) -> None:
    """Write the rows in the order of their names."""
    problems = [rows[name] for name in sorted(rows)]
    path.write_text(json.dumps({"format": FORMAT, "problems": problems}, indent=1) + "\n", "utf-8")


def write_problem(entry: Entry, folder: Path, expected: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make a problem and write its files; returns its row of the manifest.

    Files that are there and are what ``expected`` says are kept.
    """
    path, solution = folder / f"{entry.name}.json", folder / "solutions" / f"{entry.name}.json"
    unchanged = expected is not None and path.exists() and checksum(path.read_text("utf-8")) == expected["sha256"]
    if expected is not None and unchanged and (entry.kind == "open" or solution.exists()):
        return expected
    problem = build(entry)
    text = scenario_text(problem.scenario)
    solution.parent.mkdir(parents=True, exist_ok=True)
    if problem.solution is not None:
        changed = problem.solution.changed_demands(problem.scenario.routing)
        plan = RoutingPlan(f"solution-{entry.name}", 0, plan_routes(problem.scenario, problem.solution, changed))
        solution.write_text(json.dumps(plan_to_json(plan)) + "\n", "utf-8")
    path.write_text(text, "utf-8")
    return manifest_row(problem, text)


def read_problem(entry: Entry, folder: Path) -> Problem:
    """A problem from its files.  Raises ScenarioError where they are missing."""
    path = folder / f"{entry.name}.json"
    if not path.exists():
        raise ScenarioError(str(path), "is not there", "make it with `routewright suite generate`")
    scenario = read_scenario(path)
    plan = folder / "solutions" / f"{entry.name}.json"
    solution = read_plan(plan) if plan.exists() else None
    return Problem(entry, scenario, routing_with_plan(scenario, solution) if solution else None)


def read_plan(path: Path) -> RoutingPlan:
    """A plan from a file.  Raises ScenarioError where there is none."""
    try:
        return plan_from_json(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ScenarioError(str(path), f"is no readable plan ({error})", "give a routewright-plan/1") from None
