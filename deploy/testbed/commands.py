"""``routewright testbed``: the whole loop on an emulated network with real packets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gnn_model.command_options import JsonOption, LoopPredictor

DEFAULT_TOPOLOGY = "topohub:sndlib/nobel-us"


def register(app: typer.Typer) -> None:
    """Add this room's sub-commands."""
    group = typer.Typer(help="Real Open vSwitch, real packets, in network namespaces of its own (needs root).")
    group.command("run")(run)
    group.callback()(lambda: None)  # so that `run` stays a sub-command although it is the only one
    app.add_typer(group, name="testbed")


def register_bench(group: typer.Typer) -> None:
    """Add what looks at a run afterwards."""
    group.command("predicted")(predicted)


def predicted(
    kept: Annotated[Path, typer.Argument(metavar="DIR", help="What `testbed run --keep DIR` left.")],
    report: Annotated[Path, typer.Option(help="The report of the same run.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulation.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Predicted against measured delay of a kept run, by each predictor and by a simulation of every packet."""
    import json

    from deploy.testbed.prediction_check import check_predictions
    from topology_sync.errors import InputError
    from topology_sync.strict_json import read_json

    data = read_json(report, InputError)
    if not isinstance(data, dict) or "predicted_vs_measured" not in data:
        raise InputError(str(report), "is no report of the testbed", "give what `testbed run --report` wrote")
    rows = check_predictions(kept, data, seed)
    if as_json:
        typer.echo(json.dumps({"rows": rows}))
        return
    for row in rows:
        typer.echo(
            f"rates {row['rates']:6} {row['predictor']:10} {row['demands']} demands, median error "
            f"{row['delay_median_relative_error']:.1%}, offset {1e6 * row['delay_offset_s']:.0f} us, "
            f"without it {row['delay_median_relative_error_without_offset']:.1%}"
        )


def run(
    topology: Annotated[str, typer.Option(help="Scenario source of the topology.")] = DEFAULT_TOPOLOGY,
    scenario: Annotated[str, typer.Option(help="hotspot, failure, queues or steady.")] = "hotspot",
    seed: Annotated[int, typer.Option(min=0, help="Which links and demands are meant.")] = 1,
    duration: Annotated[
        float | None, typer.Option(help="Seconds of traffic; as short as the scenario allows when not given.")
    ] = None,
    predictor: Annotated[LoopPredictor, typer.Option(help="Who predicts for the optimizer.")] = LoopPredictor.gnn,
    report: Annotated[Path | None, typer.Option(help="Write the report (JSON) here.")] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep configuration, logs and packet logs in this directory.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> int:
    """Build the network, overload or break it, let the loop repair it; exit 0 only if all promises are kept after."""
    import json
    import signal
    import sys

    from rich.console import Console

    from deploy.testbed.progress import Progress
    from deploy.testbed.run import RunOptions, run_testbed
    from deploy.testbed.scenarios import KINDS
    from deploy.testbed.summary import print_summary
    from topology_sync.errors import InputError
    from topology_sync.output_files import check_output, check_output_folder, write_output
    from topology_sync.sources import load_scenario

    kind = next((known for known in KINDS if known == scenario), None)
    if kind is None:
        raise InputError("--scenario", f"there is no '{scenario}'", f"give one of {', '.join(KINDS)}")
    if duration is not None and not 45 <= duration <= 3600:
        raise InputError("--duration", f"is {duration:g}", "give 45 to 3600 seconds")
    if report is not None:
        check_output(report)
    if keep is not None:
        check_output_folder(keep)
    source = load_scenario(topology)
    signal.signal(signal.SIGTERM, _interrupt)  # so that everything is taken away then too
    options = RunOptions(topology, kind, seed, duration, keep, predictor.value)
    result = run_testbed(options, source, Progress(Console(file=sys.stderr, soft_wrap=True)))
    text = json.dumps(result, indent=1, allow_nan=False)
    if report is not None:
        write_output(report, text + "\n")
    if as_json:
        typer.echo(text)
    else:
        print_summary(result, Console())
    return 0 if result["ok"] else 1


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
