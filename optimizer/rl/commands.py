"""``routewright rl train`` and ``routewright bench rl``."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gnn_model.command_options import JsonOption

if TYPE_CHECKING:
    from optimizer.rl.training import Row

VALIDITY = (
    "Questions with missed goals and limited changes on networks of about 10 to 50 nodes, FIFO or strict priority. "
    "Without missed goals the policy is not asked."
)


def register(app: typer.Typer) -> None:
    """Add ``rl`` and its sub-commands to the program."""
    group = typer.Typer(help="The learned proposer of `optimize --optimizer rl`.", no_args_is_help=True)
    group.callback()(_group)
    group.command("train")(train_command)
    app.add_typer(group, name="rl")


def register_bench(group: typer.Typer) -> None:
    """Add the side-by-side figures."""
    group.command("rl")(bench_command)


def _group() -> None:
    """The learned proposer of `optimize --optimizer rl`."""


def train_command(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the run is kept; the same again resumes it.")],
    iterations: Annotated[int | None, typer.Option(min=1, help="Iterations the learning rate falls over.")] = None,
    stop_at: Annotated[int | None, typer.Option(min=1, help="Leave after so many and write the policy.")] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="Copies of each question.")] = None,
    questions: Annotated[int | None, typer.Option(min=1, help="Questions per iteration.")] = None,
    pool: Annotated[int | None, typer.Option(min=1, help="Questions in all.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Same seed, same policy.")] = None,
    predictor: Annotated[str, typer.Option(help="Who judges: analytic or gnn.")] = "analytic",
    threads: Annotated[int, typer.Option(min=1, help="Threads to compute with.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Train the policy on random networks; interrupted, the same command goes on.  Writes policy and curve into DIR."""
    import dataclasses

    import torch

    from optimizer.rl.model_file import save_policy
    from optimizer.rl.training import RlTrainingConfig, config_told, train
    from topology_sync.output_files import check_output_folder

    check_output_folder(out)
    torch.set_num_threads(threads)
    given: dict[str, Any] = {
        "iterations": iterations,
        "episodes": episodes,
        "questions": questions,
        "pool": pool,
        "seed": seed,
    }
    config = dataclasses.replace(
        RlTrainingConfig(), **{name: value for name, value in given.items() if value is not None}
    )
    trained = train(config, _predictor(predictor), out, _report, stop_at)
    validated = [row for row in trained.curve if "validation_left" in row]
    about: dict[str, Any] = {
        "config": config_told(config),
        "seed": config.seed,
        "iterations_done": len(trained.curve),
        "seconds": sum(row["seconds"] for row in trained.curve),
        "judge": predictor,
        "validation": {"first": validated[0], "last": validated[-1]},
        "validity": VALIDITY,
    }
    path = out / "policy.safetensors"
    save_policy(path, trained.policy, about)
    typer.echo(json.dumps({"weights": str(path), **about["validation"]}) if as_json else f"wrote {path}")


def bench_command(
    network: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Of topohub, e.g. sndlib/nobel-us; else those held out.")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="Per network.")] = 2,
    first: Annotated[
        int, typer.Option(min=0, help="Number of the first question: later ones are other questions.")
    ] = 0,
    changes: Annotated[
        float | None,
        typer.Option(min=0.0, help="Allow this part of the changes that plain descent makes; else any number."),
    ] = None,
    time_limit: Annotated[list[float] | None, typer.Option(min=0.01, help="Seconds; else 0.2, 1 and 3.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Of the searches.")] = 2,
    method: Annotated[list[str] | None, typer.Option(help="Else all.")] = None,
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Of the policy; else those shipped.")] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate/--no-simulate", help="Also judge by the packet simulator.")
    ] = True,
    processor_time: Annotated[
        bool, typer.Option("--processor-time", help="Limits are of processor time, for a machine that others use too.")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Keeps results; the same again goes on.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Violated demands left at equal time: local search, the policy alone, and proposers inside the search."""
    import torch

    from gnn_model.analytic import AnalyticPredictor
    from gnn_model.packet_simulator.simulator import PacketSimulator
    from optimizer.exact.warm_up import warm_up
    from optimizer.rl import evaluation
    from optimizer.rl.model_file import SHIPPED, load_policy
    from topology_sync.errors import InputError

    unknown = [name for name in method or () if name not in evaluation.METHODS]
    if unknown:
        raise InputError("--method", f"'{unknown[0]}' is not known", f"give one of {', '.join(evaluation.METHODS)}")
    methods = [name for name in evaluation.METHODS if not method or name in method]
    torch.set_num_threads(1)
    policy, _ = load_policy(weights or SHIPPED)
    limits = sorted(time_limit or (0.2, 1.0, 3.0))
    chosen = evaluation.trials(network or evaluation.HELD_OUT, questions, methods, limits, seeds, changes, first)
    results = evaluation.Results(out)
    judge = AnalyticPredictor()
    warm_up()

    def report(line: str) -> None:
        typer.echo(line, err=True)

    with evaluation.processor_clock() if processor_time else nullcontext():
        evaluation.measure(chosen, results, judge, policy, report)
    if simulate:
        simulator = PacketSimulator(evaluation.SIMULATED_ERROR, max_hops=evaluation.SIMULATED_HOPS)
        evaluation.simulate(chosen, results, judge, simulator, report)
    keys = [trial.key for trial in chosen]
    rows = evaluation.summary([results.records[key] for key in keys])
    typer.echo(json.dumps({"summary": rows}) if as_json else _table(rows))


def _predictor(name: str) -> Any:
    from topology_sync.errors import InputError

    if name == "analytic":
        from gnn_model.analytic import AnalyticPredictor

        return AnalyticPredictor()
    if name == "gnn":
        from gnn_model.gnn_predictor import GnnPredictor

        return GnnPredictor()
    raise InputError("--predictor", f"'{name}' is not known", "give analytic or gnn")


def _report(row: Row) -> None:
    line = (
        f"iteration {row['iteration'] + 1:.0f}: reward {row['reward']:.3f}, violation left {row['violation_left']:.3f}"
    )
    if "validation_left" in row:
        line += f", validation {row['validation_left']:.3f} left, {row['validation_answered']:.0%} answered"
    typer.echo(f"{line}, {row['seconds']:.1f} s", err=True)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"{'limit s':>7} {'method':14} {'trials':>6} {'violated':>9} {'simulated':>10} {'answered':>9} {'max util':>9}"
        f" {'changed':>8} {'seconds':>8} {'better / worse than search':>27} {'than untrained':>20}"
    ]
    for row in rows:
        simulated = "-" if row["simulated_violated"] is None else f"{row['simulated_violated']:.2f}"
        search = f"{row['better']} / {row['worse']} (p {row['sign_test']:.3f})"
        untrained = (
            "-"
            if row["untrained_better"] is None
            else f"{row['untrained_better']} / {row['untrained_worse']} (p {row['untrained_sign_test']:.3f})"
        )
        lines.append(
            f"{row['time_limit_s']:7g} {row['method']:14} {row['trials']:6} {row['violated']:9.2f} {simulated:>10}"
            f" {row['answered']:9.0%} {row['max_utilisation']:9.3f} {row['changed']:8.1f} {row['seconds']:8.2f}"
            f" {search:>27} {untrained:>20}"
        )
    return "\n".join(lines)
