"""``routewright suite``: SLA problems made from seeds, and the packet simulator's judgement of routings for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gnn_model.command_options import JsonOption
from gnn_model.commands import PredictorName
from topology_sync.errors import InputError

if TYPE_CHECKING:
    from optimizer.sla_suite import Problem

DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the suite.")]
OnlyOption = Annotated[str, typer.Option(help="Only problems whose name contains this.")]


def register(app: typer.Typer) -> None:
    """Add the group ``suite`` to the program."""
    group = typer.Typer(help="SLA problems made from seeds, judged packet by packet.", no_args_is_help=True)
    group.command("generate")(generate_command)
    group.command("judge")(judge_command)
    group.command("errors")(errors_command)
    group.command("joint")(joint_command)
    app.add_typer(group, name="suite")


def generate_command(
    folder: DirectoryArgument,
    only: OnlyOption = "",
    update: Annotated[bool, typer.Option("--update", help="Write the manifest instead of comparing with it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the problems (those that are there already are kept) and compare their checksums with the manifest.

    DIR/NAME.json is a scenario routed by fewest hops, DIR/solutions/NAME.json the plan of a known solution.  Exit code
    1 where a file is not what the manifest says.
    """
    from optimizer.sla_suite import entries
    from optimizer.sla_suite_files import read_manifest, write_manifest, write_problem

    expected = read_manifest()
    differ, made = [], []
    for entry in entries():
        if only not in entry.name:
            continue
        row = write_problem(entry, folder, expected.get(entry.name))
        made.append(row)
        if row != expected.get(entry.name):
            differ.append(entry.name)
            if update:
                expected[entry.name] = row
                write_manifest(expected)
        if not as_json:
            typer.echo(f"{entry.name}: {row['nodes']} nodes, {row['demands']} demands", err=True)
    if as_json:
        typer.echo(json.dumps({"problems": made, "differ": differ}))
    else:
        typer.echo(f"{len(made)} problems in {folder}; not as in the manifest: {', '.join(differ) or 'none'}")
    if differ and not update:
        raise typer.Exit(1)


def judge_command(
    folder: DirectoryArgument,
    method: Annotated[
        list[str] | None, typer.Option(help="Who routes; several times. Without it: all that are there.")
    ] = None,
    plans: Annotated[
        list[str] | None, typer.Option(metavar="LABEL=DIR", help="Plans of others: DIR/NAME.json for every problem.")
    ] = None,
    time_limit: Annotated[float, typer.Option(min=0.01, help="Seconds that a search has for each problem.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the searches.")] = 1,
    only: OnlyOption = "",
    half: Annotated[str, typer.Option(help="train, test or both.")] = "both",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Results so far; the same command again goes on.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count the demands whose promises are broken under each method's routing, as the packet simulator sees it."""
    from optimizer.sla_suite import totals
    from optimizer.sla_suite_judging import Judge, table

    judge = Judge(method, plans or [], time_limit, seed)
    results = _Results.of(out)
    for problem in _problems(folder, only, half):
        for name in judge.methods_of(problem):
            key = f"{problem.entry.name} {name} {time_limit:g} {seed}"
            if key in results.rows:
                continue
            row = judge.row(problem, name)
            results.keep(key, row)
            typer.echo(f"{problem.entry.name}: {name} leaves {row['violated']}", err=True)
    rows = [row for key, row in results.rows.items() if key.endswith(f" {time_limit:g} {seed}")]
    methods = {
        name: totals([row for row in rows if row["method"] == name])
        for name in dict.fromkeys(r["method"] for r in rows)
    }
    typer.echo(
        json.dumps({"time_limit_s": time_limit, "methods": methods, "rows": rows}) if as_json else table(methods)
    )


def errors_command(
    folder: DirectoryArgument,
    predictor: Annotated[PredictorName, typer.Option(help="Whose errors.")] = PredictorName.GNN,
    time_limit: Annotated[float, typer.Option(min=0.01, help="Seconds that the search has for each problem.")] = 3.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the searches.")] = 1,
    only: OnlyOption = "",
    as_json: JsonOption = False,
) -> None:
    """How far predictions are off near the goals of routings that a search chose, on the training half.

    optimizer/prediction_error.py holds these figures, rounded; searches score plans by what they make likely.
    """
    import numpy as np

    from gnn_model.commands import predictor_named
    from optimizer.exact.warm_up import warm_up
    from optimizer.sla_suite_errors import logarithmic_errors, spread

    judge = predictor_named(predictor)
    warm_up()
    found = []
    for problem in _problems(folder, only, "train"):
        found.append(logarithmic_errors(problem, judge, time_limit, seed))
        if not as_json:
            typer.echo(f"{problem.entry.name}: {_line(spread(found[-1]))}", err=True)
    if not found:
        raise InputError("--only", f"'{only}' names no problem of the training half", "leave it out")
    total = spread([np.concatenate(values) for values in zip(*found, strict=True)])
    typer.echo(json.dumps({"predictor": judge.name, "errors": total}) if as_json else _line(total))


def _line(errors: dict[str, dict[str, float]]) -> str:
    return ", ".join(
        f"{kind} {row['root_mean_square']:.3f} (mean {row['mean']:+.3f}, {row['demands']})"
        for kind, row in errors.items()
    )


def _problems(folder: Path, only: str, half: str) -> Iterator[Problem]:
    from optimizer.sla_suite import entries
    from optimizer.sla_suite_files import read_problem

    if half not in ("train", "test", "both"):
        raise InputError("--half", f"is '{half}'", "give train, test or both")
    for entry in entries():
        if only in entry.name and half in ("both", "test" if entry.test else "train"):
            yield read_problem(entry, folder)


@dataclass(frozen=True)
class _Results:
    """Rows by key in a file, if there is one: written after each, so that the same command again goes on."""

    file: Path | None
    rows: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, file: Path | None) -> _Results:
        """What the file has.  Raises InputError."""
        from topology_sync.output_files import check_output
        from topology_sync.strict_json import read_json

        if file is None:
            return cls(None, {})
        check_output(file)
        rows = read_json(file, InputError) if file.exists() else {}
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
            raise InputError(str(file), "holds no results of this command", "choose another file")
        return cls(file, rows)

    def keep(self, key: str, row: dict[str, Any]) -> None:
        """Add or replace a row."""
        from topology_sync.output_files import write_output

        self.rows[key] = row
        if self.file is not None:
            write_output(self.file, json.dumps(self.rows, indent=1) + "\n")


def joint_command(
    folder: DirectoryArgument,
    time_limit: Annotated[float, typer.Option(min=0.01, help="Seconds that a search has for each question.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the searches.")] = 1,
    predictor: Annotated[str, typer.Option(help="Who judges during the search: gnn or analytic.")] = "gnn",
    threads: Annotated[int, typer.Option(min=0, help="Threads of the predictor; 0: as many as processors.")] = 0,
    only: OnlyOption = "",
    half: Annotated[str, typer.Option(help="train, test or both.")] = "test",
    hops: Annotated[int, typer.Option(min=1000, help="Packet-hops that each judgement simulates.")] = 8_000_000,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Results so far; the same command again goes on.")
    ] = None,
    judge: Annotated[bool, typer.Option("--judge/--search-only", help="Simulate what the searches found.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Change paths, queue weights or both on the suite's weighted problems, at equal time, judged packet by packet."""
    from gnn_model.predictor_choice import load_predictor
    from optimizer.exact.warm_up import warm_up
    from optimizer.joint_bench import METHODS, answered, judged, questions_of, table_of

    asked = load_predictor(predictor, threads=threads or None)
    results = _Results.of(out)
    warm_up()
    questions = [question for problem in _problems(folder, only, half) for question in questions_of(problem)]
    ours = []
    for question in questions:
        asked.predict(question.scenario)
        for method in METHODS:
            key = f"{question.name} {method} {predictor} {time_limit:g} {seed}"
            ours.append(key)
            if key not in results.rows:
                results.keep(key, answered(question, method, asked, time_limit, seed))
                typer.echo(f"{question.name}: {method} searched", err=True)
    for question in questions if judge else ():
        for method in METHODS:
            key = f"{question.name} {method} {predictor} {time_limit:g} {seed}"
            if "violated" not in results.rows[key]:
                row = judged(question, results.rows[key], hops)
                results.keep(key, row)
                typer.echo(f"{question.name}: {method} leaves {row['violated']}", err=True)
    rows = [results.rows[key] for key in ours]
    typer.echo(json.dumps({"time_limit_s": time_limit, "rows": rows}) if as_json else table_of(rows))
