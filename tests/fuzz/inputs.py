"""Random and mutated configurations and scenarios: each is accepted, or refused with an InputError of one line.

    python -m tests.fuzz.inputs --count 10000 --seed 1 --commands 100

Prints counts; exit code 1 on any violation.  A case depends on nothing but the seed and its number, so that
``--first N --count 1`` repeats it alone.  Accepted input is also used: a scenario must survive being written and read,
a configuration must give both processes their settings.  ``--commands`` sends that many through the real command line.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deploy.configuration import read_configuration
from tests.fuzz.mutations import as_json, as_yaml, damage, damage_bytes, packed
from topology_sync.errors import InputError
from topology_sync.scenario_json import read_scenario, scenario_from_json, scenario_to_json

MAX_LINE = 2000
MAX_SECONDS = 20.0
COMMAND_TIMEOUT_S = 60
EXAMPLE = Path(__file__).parents[2] / "deploy/configs/example.yaml"


def valid_scenario() -> dict[str, Any]:
    """A scenario that uses every key of the format."""
    sides = ["ab", "ba", "bc", "cb", "cd", "dc", "da", "ad", "ab"]
    return {
        "format": "routewright-scenario/1",
        "name": "square",
        "topology": {
            "nodes": [
                {"id": "a", "scheduler": "wfq", "weights": [60, 40], "class_queues": {"voice": 0, "default": 1}},
                {"id": "b", "scheduler": "strict", "class_queues": {"voice": 0, "default": 1}},
                {"id": "c"},
                {"id": "d", "scheduler": "fifo"},
            ],
            "links": [
                {"source": ends[0], "target": ends[1], "capacity_bps": 1e7, "delay_s": 0.001, "queue_packets": 32}
                for ends in sides
            ],
        },
        "classes": ["voice", "default"],
        "traffic": [
            {"source": "a", "target": "c", "class": "default", "rate_bps": 2e6, "packet_size": "bimodal"},
            {
                "source": "a",
                "target": "c",
                "class": "voice",
                "rate_bps": 1e6,
                "packet_bits_mean": 1000,
                "packet_size": {"sizes": [100, 1500], "probabilities": [0.25, 0.75]},
                "arrivals": {"model": "onoff", "on_s": 5, "off_s": 5},
            },
            {
                "source": "d",
                "target": "b",
                "rate_bps": 3e6,
                "arrivals": {"model": "autocorrelated", "correlation": 0.5, "sigma": 0.2},
            },
        ],
        "routing": [
            {
                "source": "a",
                "target": "c",
                "class": "voice",
                "paths": [
                    {"nodes": ["a", "b", "c"], "share": 0.75, "links": [8, 2]},
                    {"nodes": ["a", "d", "c"], "share": 0.25},
                ],
            }
        ],
        "sla": [{"class": "voice", "delay_s": 0.03, "percentile": 99, "jitter_s": None, "loss_ratio": 0.001}],
    }


def valid_configuration() -> dict[str, Any]:
    """The example of the documentation."""
    data: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    data["network"]["switches"] = {"edge-1": 1, "edge-2": "0x2"}
    data["maintenance"] = {"links": ["edge-1:edge-2", ["a", "b"]], "nodes": ["edge-2"]}
    return data


@dataclass(frozen=True)
class Case:
    """One input file."""

    number: int
    kind: str  # configuration or scenario
    suffix: str
    content: bytes


def make_case(seed: int, number: int) -> Case:
    """The case of that number: half configurations, half scenarios; some are damaged as bytes, too."""
    random_source = random.Random(f"{seed}/{number}")
    kind = "configuration" if number % 2 else "scenario"
    data = valid_configuration() if kind == "configuration" else valid_scenario()
    if random_source.random() > 0.03:
        data = damage(data, random_source)
    write = as_json if kind == "scenario" or random_source.random() < 0.2 else as_yaml
    content = write(data, random_source).encode("utf-8", "surrogatepass")
    suffix = ".yaml" if kind == "configuration" else ".json"
    if kind == "scenario" and random_source.random() < 0.3:
        packing = random_source.choice([".gz", ".xz"])
        suffix += packing
        if random_source.random() < 0.3:
            content = damage_bytes(content, random_source)
        content = packed(content, packing)
    if random_source.random() < 0.15:
        content = damage_bytes(content, random_source)
    return Case(number, kind, suffix, content)


@dataclass
class Outcome:
    """What came of the cases."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: int = -1

    def violation(self, case: Case, text: str) -> None:
        """Note that a case broke the promise."""
        self.violations.append(f"case {case.number} ({case.kind}): {text}")


def write_case(case: Case, directory: Path) -> Path:
    """The case as a file."""
    path = directory / f"case{case.suffix}"
    path.write_bytes(case.content)
    return path


def check_in_process(case: Case, directory: Path, outcome: Outcome) -> None:
    """Read a case, use what was accepted, and note what broke the promise."""
    path = write_case(case, directory)
    started = time.perf_counter()
    try:
        _read_and_use(case, path, directory)
    except InputError as error:
        outcome.counts[f"{case.kind} refused"] += 1
        line = str(error)
        if len(line.splitlines()) != 1 or not line.isprintable() or len(line) > MAX_LINE or str(path) not in line:
            outcome.violation(case, f"is refused with no fit line: {line!r}")
    except Exception as error:
        outcome.violation(case, f"raises {type(error).__name__}: {error}")
    else:
        outcome.counts[f"{case.kind} accepted"] += 1
    seconds = time.perf_counter() - started
    if seconds > outcome.slowest_s:
        outcome.slowest_s, outcome.slowest = seconds, case.number
    if seconds > MAX_SECONDS:
        outcome.violation(case, f"takes {seconds:.1f} s")


def _read_and_use(case: Case, path: Path, directory: Path) -> None:
    if case.kind == "scenario":
        scenario = read_scenario(path)
        scenario.routing.check(scenario.topology, scenario.traffic)
        if scenario_from_json(scenario_to_json(scenario)) != scenario:
            raise AssertionError("an accepted scenario changes when it is written and read")
        return
    configuration = read_configuration(path)
    configuration.controller_settings(directory).to_json()
    configuration.optimizer_settings(directory)


def check_by_command(case: Case, directory: Path, outcome: Outcome) -> None:
    """Give a case to the real command line: exit 0, or exit 2 with one line on stderr."""
    path = write_case(case, directory)
    command = ["check-config", str(path)] if case.kind == "configuration" else ["predict", str(path), "--json"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", *command],
            capture_output=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            cwd=Path(__file__).parents[2],
        )
    except subprocess.TimeoutExpired:
        outcome.violation(case, f"{command[0]} takes more than {COMMAND_TIMEOUT_S} s")
        return
    errors = done.stderr.decode("utf-8", "replace")
    outcome.counts[f"{command[0]} exit {done.returncode}"] += 1
    one_line = len(errors.splitlines()) == 1 and errors.startswith("routewright: ")
    fits = not errors if done.returncode == 0 else done.returncode == 2 and one_line and not done.stdout
    if not fits:
        outcome.violation(case, f"{command[0]} exits {done.returncode} with {errors[-300:]!r}")


def main() -> int:
    """Run the cases and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--commands", type=int, default=0)
    arguments = parser.parse_args()
    outcome = Outcome()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        for number in range(arguments.first, arguments.first + arguments.count):
            check_in_process(make_case(arguments.seed, number), directory, outcome)
        # from further on, so that these are cases of their own
        first = arguments.first + arguments.count
        for number in range(first, first + arguments.commands):
            check_by_command(make_case(arguments.seed, number), directory, outcome)
    for name, count in sorted(outcome.counts.items()):
        print(f"{name:24} {count:6}")
    print(f"slowest case {outcome.slowest}: {outcome.slowest_s:.2f} s; all: {time.perf_counter() - started:.0f} s")
    for violation in outcome.violations[:50]:
        print(f"VIOLATION {violation}")
    print(f"{len(outcome.violations)} violations")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
