"""``routewright bench``: the figures of docs/results.md that need real packets."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from gnn_model.command_options import JsonOption

DEFAULT_TOPOLOGY = "topohub:sndlib/nobel-us"

Measurement = Callable[[Any, str, int, Any], dict[str, Any]]
"""Measures on the topology of a scenario, which has this name, with this seed, and tells ``Progress``; the figures."""


def register_bench(group: typer.Typer) -> None:
    """Add to the ``bench`` group, which other rooms share."""
    for name, choose in (
        ("update-safety", update_safety),
        ("telemetry", telemetry),
        ("kill", kill),
        ("failover", failover),
        ("emulator", emulator),
        ("queue-weights", queue_weights),
    ):
        group.command(name)(_command(choose))


def update_safety(
    changes: Annotated[int, typer.Option(min=1, max=1000, help="Re-routings.")] = 50,
) -> Measurement:
    """A 1,000 packets/s flow across consecutive re-routings: lost, duplicated, on a mixed path?"""
    from deploy.testbed.measurement.update_safety import measure_update_safety

    return lambda source, name, seed, progress: measure_update_safety(source, name, seed, changes, progress)


def telemetry(
    seconds: Annotated[int, typer.Option(min=20, max=600, help="Seconds of snapshots to compare.")] = 40,
    window: Annotated[float, typer.Option(min=5, max=120, help="Length of the measurement window in seconds.")] = 10.0,
    probes: Annotated[float, typer.Option(min=0, max=10_000, help="telemetry.probes_per_s of the run.")] = 600.0,
    poll: Annotated[float, typer.Option(min=0.1, max=60, help="telemetry.poll_s of the run.")] = 0.25,
) -> Measurement:
    """What the controller measured against what senders sent and receivers got: rates, loss, p99 delay."""
    from deploy.testbed.measurement.telemetry_accuracy import measure_telemetry

    return lambda source, name, seed, progress: measure_telemetry(
        source, name, seed, seconds, window, progress, probes, poll
    )


def kill(
    times: Annotated[int, typer.Option(min=1, max=100, help="Kills of each kind.")] = 10,
    away: Annotated[float, typer.Option(min=0, max=300, help="Seconds until what was killed is started again.")] = 1.0,
    victim: Annotated[
        list[str] | None, typer.Option(help="Who is killed: controller, optimizer, both; several times for several.")
    ] = None,
) -> Measurement:
    """kill -9 of the controller, the optimizer and both under load: packets lost, flow changes after the restart."""
    from deploy.testbed.measurement.process_death import VICTIMS, measure_process_death
    from topology_sync.errors import InputError

    victims = tuple(victim or VICTIMS)
    for name in victims:
        if name not in VICTIMS:
            raise InputError("--victim", f"is {name!r}", f"choose of {', '.join(VICTIMS)}")
    return lambda source, name, seed, progress: measure_process_death(
        source, name, seed, times, progress, away, victims
    )


def failover(
    trials: Annotated[int, typer.Option(min=1, max=100, help="Cables to break, one after the other.")] = 20,
) -> Measurement:
    """Cables break under 1,000 packets/s in both directions: for how long is traffic lost, and is it re-routed?"""
    from deploy.testbed.measurement.failover import measure_failover

    return lambda source, name, seed, progress: measure_failover(source, name, seed, trials, progress)


def queue_weights(
    changes: Annotated[int, typer.Option(min=2, max=500, help="Changes of weights below the link's rate.")] = 20,
) -> Measurement:
    """Weights of queues change: do classes get their parts, is a packet lost, does kill -9 of the controller matter?"""
    from deploy.testbed.measurement.queue_weights import measure_queue_weights

    return lambda source, name, seed, progress: measure_queue_weights(source, name, seed, changes, progress)


def emulator() -> Measurement:
    """What the emulated switches can carry, so that a run's load can be judged against it."""
    from deploy.testbed.measurement.emulator_capacity import measure_emulator_capacity

    return measure_emulator_capacity


def _command(choose: Callable[..., Measurement]) -> Callable[..., int]:
    """The command with the options of ``choose`` and those that all measurements share."""

    def command(
        topology: Annotated[str, typer.Option(help="Scenario source of the topology.")] = DEFAULT_TOPOLOGY,
        seed: Annotated[int, typer.Option(min=0, help="Which demands and links are meant.")] = 1,
        report: Annotated[Path | None, typer.Option(help="Write the figures (JSON) here.")] = None,
        as_json: JsonOption = False,
        **own: Any,
    ) -> int:
        return _run(choose(**own), topology, seed, report, as_json)

    def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
        hints = get_type_hints(function, globals(), include_extras=True)
        return [
            parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]

    merged = [*parameters(choose), *parameters(command)]
    command.__doc__ = choose.__doc__
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in merged}
    command.__signature__ = inspect.Signature(merged, return_annotation=int)  # type: ignore[attr-defined]
    return command


def _run(measure: Measurement, topology: str, seed: int, report: Path | None, as_json: bool) -> int:
    import json
    import signal
    import sys

    from rich.console import Console

    from deploy.testbed.progress import Progress
    from topology_sync.output_files import check_output, write_output
    from topology_sync.sources import load_scenario

    if report is not None:
        check_output(report)
    source = load_scenario(topology)
    signal.signal(signal.SIGTERM, _interrupt)
    result = measure(source, topology, seed, Progress(Console(file=sys.stderr, soft_wrap=True)))
    text = json.dumps(result, indent=1, allow_nan=False)
    if report is not None:
        write_output(report, text + "\n")
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
