"""``bench repetita``: what it finds below a folder, its answer's form, and the public instances' optima."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from optimizer import bench_commands
from tests.benchmarks import unpack_zoo
from topology_sync.errors import InputError

GRAPH = """NODES 3
label x y
a 0 0
b 0 0
c 0 0

EDGES 6
label src dest weight bw delay
e0 0 1 1 1000 1
e1 1 0 1 1000 1
e2 1 2 1 1000 1
e3 2 1 1 1000 1
e4 0 2 1 500 1
e5 2 0 1 500 1
"""
DEMANDS = "DEMANDS 1\nlabel src dest bw\nd0 0 2 1200\n"
KEYS = ["name", "nodes", "demands", "max_utilisation", "lower_bound", "split_demands", "seconds"]


def call(*arguments: object) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    group = typer.Typer()
    bench_commands.register_bench(group)
    app.add_typer(group, name="bench")
    return CliRunner().invoke(app, ["bench", *(str(argument) for argument in arguments)])


def write(folder: Path) -> None:
    (folder / "one").mkdir()
    (folder / "one/net.graph").write_text(GRAPH)
    (folder / "one/net.0000.demands").write_text(DEMANDS)
    (folder / "one/net.0001.demands").write_text(DEMANDS.replace("1200", "600"))
    (folder / "hard.graph").write_text(GRAPH)
    (folder / "hard.demands").write_text(DEMANDS.replace("1200", "300"))
    (folder / "alone.graph").write_text(GRAPH)


def test_instances_are_found_below_the_folder_with_either_naming(tmp_path: Path) -> None:
    write(tmp_path)
    found = json.loads(call("repetita", tmp_path, "--json").stdout)["instances"]
    assert [list(entry) for entry in found] == [KEYS, KEYS]
    hard, net = found
    assert (hard["name"], hard["nodes"], hard["demands"]) == ("hard", 3, 1)
    assert net["max_utilisation"] == pytest.approx(1200 / 1500)
    assert net["lower_bound"] == pytest.approx(1200 / 1500)
    assert net["split_demands"] == 1
    assert hard["max_utilisation"] == pytest.approx(300 / 1500)
    assert 0 < net["seconds"] < 5
    table = tmp_path / "scores.csv"
    other = json.loads(
        call(
            "repetita", tmp_path, "--matrix", "0001", "--csv", table, "--only", "net", "--only", "hard", "--json"
        ).stdout
    )["instances"]
    with table.open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["hard", "net"]
    assert other[1]["max_utilisation"] == pytest.approx(600 / 1500)


def test_single_paths_and_archives(tmp_path: Path) -> None:
    write(tmp_path)
    archive = tmp_path / "all.tar.xz"
    with tarfile.open(archive, "w:xz") as file:
        file.add(tmp_path / "one", "data/one")
    result = call("repetita", archive, "--single-path", "--time-limit", "0.3", "--json")
    (net,) = json.loads(result.stdout)["instances"]
    assert net["split_demands"] == 0
    assert net["max_utilisation"] == net["lower_bound"] == pytest.approx(1.2)


def test_equal_names_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "two").mkdir()
    for name in ("net.graph", "net.0000.demands"):
        (tmp_path / "two" / name).write_text((tmp_path / "one" / name).read_text())
    found = json.loads(call("repetita", tmp_path, "--json").stdout)["instances"]
    assert [entry["name"] for entry in found] == ["hard", "one/net", "two/net"]


def test_people_get_a_table_and_a_summary(tmp_path: Path) -> None:
    write(tmp_path)
    assert "2 instances; within 0.1 % of the bound: 2" in call("repetita", tmp_path).stdout


@pytest.mark.parametrize("name", ["nothing", "text"])
def test_folders_without_instances_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "text").write_text("no archive")
    result = call("repetita", tmp_path / name)
    assert isinstance(result.exception, InputError)
    assert "\n" not in str(result.exception)


def test_what_was_interrupted_is_resumed(tmp_path: Path) -> None:
    write(tmp_path)
    table = tmp_path / "scores.csv"
    call("repetita", tmp_path, "--csv", table, "--only", "hard")
    table.write_text(
        table.read_text().replace("hard,3,1,0.2,", "hard,3,1,0.25,")
    )  # so that it shows whether it is kept
    found = json.loads(call("repetita", tmp_path, "--csv", table, "--resume", "--json").stdout)["instances"]
    assert [(entry["name"], entry["max_utilisation"]) for entry in found] == [
        ("hard", 0.25),
        ("net", pytest.approx(0.8)),
    ]
    with table.open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["hard", "net"]
    for wrong in (("--resume",), ("--resume", "--csv", tmp_path / "one/net.graph"), ("--csv", tmp_path)):
        result = call("repetita", tmp_path, *wrong)
        assert isinstance(result.exception, InputError)
        assert "\n" not in str(result.exception)
    assert (tmp_path / "one/net.graph").read_text() == GRAPH


def test_one_bad_instance_does_not_take_the_others_along(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "bad.graph").write_text(GRAPH.replace("1000", "none", 1))
    (tmp_path / "bad.demands").write_text(DEMANDS)
    (tmp_path / "cut.graph").write_text("NODES 2\nlabel x y\na 0 0\nb 0 0\n\nEDGES 0\nlabel src dest weight bw delay\n")
    (tmp_path / "cut.demands").write_text(DEMANDS.replace("0 2", "0 1"))
    result = call("repetita", tmp_path, "--json")
    assert [entry["name"] for entry in json.loads(result.stdout)["instances"]] == ["hard", "net"]
    assert isinstance(result.exception, InputError)
    assert "(2 of 4 instances have no answer)" in str(result.exception)


@pytest.mark.parametrize("rates", ["", "d0 0 0 5\n", "d0 0 1 0\n"])
@pytest.mark.parametrize("nodes", [1, 2])
def test_instances_without_traffic_have_an_answer(tmp_path: Path, nodes: int, rates: str) -> None:
    if nodes == 1 and " 1 " in rates:
        rates = ""
    labels = "".join(f"n{node} 0 0\n" for node in range(nodes))
    (tmp_path / "net.graph").write_text(
        f"NODES {nodes}\nlabel x y\n{labels}\nEDGES 0\nlabel src dest weight bw delay\n"
    )
    (tmp_path / "net.demands").write_text(f"DEMANDS {1 if rates else 0}\nlabel src dest bw\n{rates}")
    for option in ([], ["--single-path"], ["--realisable"]):
        (entry,) = json.loads(call("repetita", tmp_path, *option, "--json").stdout)["instances"]
        assert (entry["max_utilisation"], entry["lower_bound"]) == (0.0, 0.0)


@pytest.mark.parametrize("content", ['{"sizes": [{"nodes": 4}]}', '{"sizes":', "[]"])
def test_results_of_scale_that_are_none_are_refused_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "r.json").write_text(content)
    for options in (("--results", tmp_path / "r.json"), ("--results", tmp_path / "r.json/no.json"), ()):
        result = call("scale", *(("--nodes", 4) if options else ()), *options)
        assert isinstance(result.exception, InputError)
        assert "\n" not in str(result.exception)


def test_scale_writes_results_once_and_draws_them(tmp_path: Path) -> None:
    options = ("--nodes", 20, "--edges-per-node", 1.5, "--results", tmp_path / "r.json", "--plot", tmp_path / "p.svg")
    first = json.loads(call("scale", *options, "--json").stdout)
    (entry,) = first["sizes"]
    assert (entry["nodes"], entry["demands"]) == (20, 380)
    assert entry["gap"] <= 1e-6
    assert json.loads(call("scale", *options, "--json").stdout) == first
    assert (tmp_path / "p.svg").read_text().startswith("<?xml")


def test_public_optima_are_reproduced(tmp_path: Path) -> None:
    names = ("Abilene", "Geant2012", "Janetlense", "Ntt", "Interoute")
    optimum = unpack_zoo(names, tmp_path)
    entries = json.loads(call("repetita", tmp_path, "--json").stdout)["instances"]
    assert {entry["name"] for entry in entries} == set(names)
    for entry in entries:
        assert entry["max_utilisation"] == pytest.approx(optimum[entry["name"]], rel=2e-5)
        assert entry["lower_bound"] == pytest.approx(optimum[entry["name"]], rel=2e-5)
        assert entry["split_demands"] <= 0.1 * entry["demands"]
