"""The sub-commands ``routewright wireless train | recommend | evaluate | live``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gnn_model.command_options import JsonOption
from gnn_model.service.options import (
    AddressOption,
    TlsCaOption,
    TlsCertificateOption,
    TlsKeyOption,
    addresses_of,
    tls_files,
)

if TYPE_CHECKING:
    from gnn_model.service.tls import TlsFiles
    from gnn_model.wireless.evaluation import SizeResult
    from gnn_model.wireless.layout import Layout
    from gnn_model.wireless.model_file import TrainedModel
    from gnn_model.wireless.recommend import Method, Recommendation
    from gnn_model.wireless.training import Progress

MAX_GAINS = 80_000_000
ModelOption = Annotated[Path | None, typer.Option(metavar="CARD.json", help="A model of your own training.")]
MethodOption = Annotated[str, typer.Option(help="hybrid, wcgcn or wmmse.")]


def register(app: typer.Typer) -> None:
    """Add ``wireless`` and its sub-commands to the program."""
    wireless = typer.Typer(help="Transmit powers for many interfering wireless links.", no_args_is_help=True)
    wireless.command("train")(train)
    wireless.command("recommend")(recommend)
    wireless.command("evaluate")(evaluate)
    wireless.command("live")(live)
    app.add_typer(wireless, name="wireless")


def train(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where NAME.safetensors and NAME.json go.")],
    name: Annotated[str, typer.Option(help="Name of the model.")] = "channels",
    links: Annotated[int, typer.Option(min=1, max=1000, help="Links per layout.")] = 50,
    layouts: Annotated[int, typer.Option(min=1, max=10_000, help="Layouts per step.")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the training.")] = 8000,
    stop_at: Annotated[
        int, typer.Option(min=0, help="Leave after this step of them and write the model (0: none).")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same layouts and start.")] = 1,
    weighted_share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of layouts with link weights.")] = 0.25,
    distances_only: Annotated[
        bool, typer.Option("--distances-only", help="Show the model distances instead of channels.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads to compute with.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Train WCGCN and the hybrid on fresh random layouts.  Run again after an interruption, it goes on."""
    import time

    import torch

    from gnn_model.wireless.model_file import TrainedModel, check_model_name, save_model
    from gnn_model.wireless.training import TrainingSettings
    from gnn_model.wireless.training import train as train_model
    from gnn_model.wireless.wcgcn import ModelSettings

    check_model_name(name)
    torch.set_num_threads(threads)
    settings = TrainingSettings(
        links=links,
        layouts=layouts,
        steps=steps,
        stop_at=stop_at,
        seed=seed,
        weighted_share=weighted_share,
        distances_only=distances_only,
    )
    checkpoint = out / f"{name}.checkpoint"
    started = time.perf_counter()
    last: list[Progress] = []

    def report(progress: Progress) -> None:
        last[:] = [progress]
        typer.echo(
            f"step {progress.step}/{progress.steps}: WCGCN {progress.wcgcn:.2f}, hybrid {progress.hybrid:.2f} bit/s/Hz,"
            f" {progress.seconds:.0f} s",
            err=True,
        )

    # which of several outputs is best cannot be seen from distances
    shape = ModelSettings(outputs=1) if distances_only else ModelSettings()
    model = train_model(shape, settings, checkpoint, report)
    card = save_model(TrainedModel(name, model, settings), out)
    checkpoint.unlink(missing_ok=True)
    if as_json:
        rates = {"wcgcn": last[0].wcgcn, "hybrid": last[0].hybrid} if last else {}
        typer.echo(json.dumps({"card": str(card), **rates, "seconds": time.perf_counter() - started}))
    else:
        typer.echo(f"wrote {card}")


def recommend(
    layout: Annotated[Path, typer.Argument(metavar="LAYOUT.json", help="Links with gains or positions.")],
    method: MethodOption = "hybrid",
    model: ModelOption = None,
    address: AddressOption = None,
    tls_ca: TlsCaOption = None,
    tls_certificate: TlsCertificateOption = None,
    tls_key: TlsKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend transmit powers for one layout.  Exit code 1 where the minimum rates cannot all be kept."""
    from gnn_model.wireless.layout import read_layout
    from gnn_model.wireless.recommend import recommend as recommend_powers
    from gnn_model.wireless.recommend import recommendation_to_json

    chosen = _method(method)
    question = read_layout(layout)
    addresses, tls = addresses_of(address), tls_files(tls_ca, tls_certificate, tls_key)
    if addresses:
        found = _recommended_by(addresses, question, chosen, model, tls)
    else:
        found = recommend_powers(question, chosen, _model(model))
    if as_json:
        typer.echo(json.dumps(recommendation_to_json(question, found), allow_nan=False))
    else:
        _print_recommendation(question, found)
    if found.violation.any():
        raise typer.Exit(1)


def evaluate(
    links: Annotated[str, typer.Option(help="Sizes, separated by commas.")] = "50,100,200,300,400",
    layouts: Annotated[int | None, typer.Option(min=1, help="Layouts per size (500 up to 100 links, then 50).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the layouts; training uses others.")] = 2021,
    best_of: Annotated[int, typer.Option(min=0, help="Starts of the stronger WMMSE (0: leave it out).")] = 10,
    density: Annotated[float, typer.Option(min=0.1, help="Links per square kilometre.")] = 50.0,
    shadowing: Annotated[float, typer.Option(min=0.0, max=30.0, help="Deviation of the shadowing in dB.")] = 8.0,
    fading: Annotated[str, typer.Option(help="rayleigh, rician or none.")] = "rayleigh",
    distances_only: Annotated[
        bool, typer.Option("--distances-only", help="Show distances instead of channels.")
    ] = False,
    weighted: Annotated[bool, typer.Option("--weighted", help="Random link weights, weighted sum rates.")] = False,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare WCGCN and the hybrid with WMMSE and others on the same layouts; times on one thread."""
    _compute_with_one_thread()
    from gnn_model.wireless.evaluation import EvaluationSettings, evaluate_size, result_to_json
    from gnn_model.wireless.model_file import shipped_model
    from topology_sync.errors import InputError

    setting = _setting(density, shadowing, fading)
    trained = _model(model) or shipped_model("distances" if distances_only else "channels")
    results = []
    for size in _sizes(links):
        count = layouts or (500 if size <= 100 else 50)
        if count * size**2 > MAX_GAINS:
            raise InputError("--layouts", f"{count} layouts of {size} links do not fit the memory", "give fewer")
        settings = EvaluationSettings(size, count, seed, best_of, setting, distances_only, weighted)
        results.append(evaluate_size(settings, trained))
        if not as_json:
            _print_size(results[-1])
    if as_json:
        about = {"seed": seed, "links_per_km2": density, "shadowing_db": shadowing, "fading": fading}
        sizes = [result_to_json(result) for result in results]
        typer.echo(json.dumps({"sizes": sizes, **about, "weighted": weighted, "distances_only": distances_only}))


def live(
    layout: Annotated[Path, typer.Argument(metavar="LAYOUT.json", help="The links, with their gains at the start.")],
    feed: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Recorded gains, one interval a line; else synthetic.")
    ] = None,
    intervals: Annotated[int, typer.Option(min=1, help="Intervals of a synthetic feed.")] = 20,
    interval_s: Annotated[float, typer.Option(min=0.0, help="Time from one interval to the next.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of a synthetic feed.")] = 1,
    method: MethodOption = "hybrid",
) -> None:
    """Take gains each interval and print the powers, a JSON line each: from a recording or a synthetic channel."""
    import sys

    from gnn_model.wireless.layout import read_layout
    from gnn_model.wireless.power_application import JsonLines, PowerApplication, RecordedFeed, SyntheticFeed

    start = read_layout(layout)
    source = RecordedFeed(feed, start) if feed is not None else SyntheticFeed(start, intervals, interval_s, seed)
    PowerApplication(source, JsonLines(sys.stdout), start, _method(method), interval_s).run()


def _recommended_by(
    addresses: tuple[str, ...], layout: Layout, method: Method, model: Path | None, tls: TlsFiles | None
) -> Recommendation:
    """What the predictor servers at ``addresses`` recommend, by the models that they have."""
    from gnn_model.service.remote_powers import recommend_remotely
    from topology_sync.errors import InputError

    if model is not None:
        raise InputError("--model", "is given, and servers use their own", "leave it or --address out")
    return recommend_remotely([layout], addresses, method, tls)[0]


def _compute_with_one_thread() -> None:
    """Times are processor time: more threads would only add up.  Has to happen before numpy is loaded."""
    import os

    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


def _method(name: str) -> Method:
    from gnn_model.wireless.recommend import Method
    from topology_sync.errors import InputError

    if name not in tuple(Method):
        raise InputError("--method", f"is {name!r}", f"give one of {', '.join(Method)}")
    return Method(name)


def _model(path: Path | None) -> TrainedModel | None:
    from gnn_model.wireless.model_file import load_model

    return None if path is None else load_model(path)


def _setting(density: float, shadowing: float, fading: str) -> Any:
    from gnn_model.wireless.channel import FADINGS, Setting
    from topology_sync.errors import InputError

    chosen = next((known for known in FADINGS if known == fading), None)
    if chosen is None:
        raise InputError("--fading", f"is {fading!r}", f"give one of {', '.join(FADINGS)}")
    return Setting(links_per_km2=density, shadowing_db=shadowing, fading=chosen)


def _sizes(text: str) -> list[int]:
    from topology_sync.errors import InputError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part[:6]) <= 5000 and len(part) <= 6 for part in parts):
        raise InputError("--links", f"is {text[:60]!r}", "give sizes from 1 to 5000, like 50,100,200")
    return [int(part) for part in parts]


def _print_recommendation(layout: Layout, found: Recommendation) -> None:
    from rich.console import Console
    from rich.table import Table

    quality = layout.minimum_rates.any()
    table = Table(title=f"{layout.name}: {found.method.value}, {found.seconds * 1e3:.3g} ms")
    for column in ("link", "power", "rate bit/s/Hz", *(("minimum", "missed") if quality else ())):
        table.add_column(column, justify="left" if column == "link" else "right")
    for index, name in enumerate(layout.links):
        row = [name, f"{found.powers[index]:.4f}", f"{found.rates[index]:.3f}"]
        if quality:
            row += [f"{layout.minimum_rates[index]:.3f}", f"{found.violation[index]:.3f}"]
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(f"sum rate {found.rates.sum():.2f} bit/s/Hz")
    if quality and not found.possible:
        console.print("the minimum rates cannot all be kept, whatever the powers")
    elif found.violation.any():
        console.print(f"minimum rates missed by {found.violation.sum():.3f} bit/s/Hz in all")


def _print_size(result: SizeResult) -> None:
    reference = result.rates["wmmse_100"]
    typer.echo(f"{result.settings.links} links, {result.settings.layouts} layouts, WMMSE-100 {reference:.2f} bit/s/Hz")
    for name, rate in result.rates.items():
        seconds = result.seconds.get(name)
        shown = (
            ""
            if seconds is None
            else f"{seconds.single * 1e3:10.3f} ms alone {seconds.batch * 1e3:10.3f} ms in a batch"
        )
        typer.echo(f"  {name:14s} {rate:9.2f} {100 * rate / reference:7.2f} %{shown}")
