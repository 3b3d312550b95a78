"""``routewright bench``: the figures of docs/results.md that need real packets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DEFAULT_TOPOLOGY = "topohub:sndlib/nobel-us"

Topology = Annotated[str, typer.Option(help="Scenario source of the topology.")]
Seed = Annotated[int, typer.Option(min=0, help="Which demands and links are meant.")]
Report = Annotated[Path | None, typer.Option(help="Write the figures (JSON) here.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]


def register_bench(group: typer.Typer) -> None:
    """Add to the ``bench`` group, which other rooms share."""
    group.command("update-safety")(update_safety)
    group.command("telemetry")(telemetry)
    group.command("kill")(kill)
    group.command("failover")(failover)
    group.command("emulator")(emulator)


def update_safety(
    changes: Annotated[int, typer.Option(min=1, max=1000, help="Re-routings.")] = 50,
    topology: Topology = DEFAULT_TOPOLOGY,
    seed: Seed = 1,
    report: Report = None,
    as_json: AsJson = False,
) -> int:
    """A 1,000 packets/s flow across consecutive re-routings: lost, duplicated, on a mixed path?"""
    from deploy.testbed.measurement.update_safety import measure_update_safety

    return _run(
        lambda progress, source: measure_update_safety(source, topology, seed, changes, progress),
        topology,
        report,
        as_json,
    )


def telemetry(
    seconds: Annotated[int, typer.Option(min=20, max=600, help="Seconds of snapshots to compare.")] = 40,
    window: Annotated[float, typer.Option(min=5, max=120, help="Length of the measurement window in seconds.")] = 10.0,
    topology: Topology = DEFAULT_TOPOLOGY,
    seed: Seed = 1,
    report: Report = None,
    as_json: AsJson = False,
) -> int:
    """What the controller measured against what senders sent and receivers got: rates, loss, p99 delay."""
    from deploy.testbed.measurement.telemetry_accuracy import measure_telemetry

    return _run(
        lambda progress, source: measure_telemetry(source, topology, seed, seconds, window, progress),
        topology,
        report,
        as_json,
    )


def kill(
    times: Annotated[int, typer.Option(min=1, max=100, help="Kills of each kind.")] = 10,
    topology: Topology = DEFAULT_TOPOLOGY,
    seed: Seed = 1,
    report: Report = None,
    as_json: AsJson = False,
) -> int:
    """kill -9 of the controller, the optimizer and both under load: packets lost, flow changes after the restart."""
    from deploy.testbed.measurement.process_death import measure_process_death

    return _run(
        lambda progress, source: measure_process_death(source, topology, seed, times, progress),
        topology,
        report,
        as_json,
    )


def failover(
    trials: Annotated[int, typer.Option(min=1, max=100, help="Cables to break, one after the other.")] = 20,
    topology: Topology = DEFAULT_TOPOLOGY,
    seed: Seed = 1,
    report: Report = None,
    as_json: AsJson = False,
) -> int:
    """Cables break under 1,000 packets/s in both directions: for how long is traffic lost, and is it re-routed?"""
    from deploy.testbed.measurement.failover import measure_failover

    return _run(
        lambda progress, source: measure_failover(source, topology, seed, trials, progress),
        topology,
        report,
        as_json,
    )


def emulator(
    topology: Topology = DEFAULT_TOPOLOGY,
    seed: Seed = 1,
    report: Report = None,
    as_json: AsJson = False,
) -> int:
    """What the emulated switches can carry, so that a run's load can be judged against it."""
    from deploy.testbed.measurement.emulator_capacity import measure_emulator_capacity

    return _run(
        lambda progress, source: measure_emulator_capacity(source, topology, seed, progress),
        topology,
        report,
        as_json,
    )


def _run(measure: Any, topology: str, report: Path | None, as_json: bool) -> int:
    import json
    import signal
    import sys

    from rich.console import Console

    from deploy.testbed.progress import Progress
    from topology_sync.errors import UnavailableError
    from topology_sync.sources import load_scenario

    source = load_scenario(topology)
    signal.signal(signal.SIGTERM, _interrupt)
    result = measure(Progress(Console(file=sys.stderr, soft_wrap=True)), source)
    text = json.dumps(result, indent=1, allow_nan=False)
    if report is not None:
        try:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text(text + "\n")
        except OSError as error:
            raise UnavailableError(f"{report}: cannot be written ({error.strerror})") from error
    if as_json:
        typer.echo(text)
    else:
        console = Console()
        for name, value in result.items():
            if not isinstance(value, list):
                console.print(f"{name.replace('_', ' ')}: {_shown(value)}", highlight=False)
    return 0 if result["ok"] else 1


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_shown(entry)}" for name, entry in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
