"""The help of every command is complete and in plain words, and what the documentation tells people to type exists."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from deploy import cli
from deploy.help_texts import put_plainly

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
TYPED = re.compile(r"(?:^    (?:\.venv/bin/)?|`)routewright ([a-z][a-z0-9-]*(?: [^`\n#]*)?)", re.MULTILINE)


@cache
def program() -> Any:
    command = typer.main.get_command(cli.application())
    put_plainly(command, cli.HELP_OPTIONS)
    return command


def commands(command: Any, name: str = "routewright") -> Iterator[tuple[str, Any]]:
    yield name, command
    for below, found in getattr(command, "commands", {}).items():
        yield from commands(found, f"{name} {below}")


def test_every_command_and_option_says_what_it_does_in_a_sentence() -> None:
    silent = [name for name, command in commands(program()) if not (command.help or "").rstrip().endswith((".", "?"))]
    silent += [
        f"{name} {parameter.name}"
        for name, command in commands(program())
        for parameter in command.params
        if not (parameter.help or "").endswith(".")
    ]
    assert not silent


def test_help_speaks_of_files_and_numbers_instead_of_python_types(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    for name, _ in commands(program()):
        assert cli.run([*name.split()[1:], "--help"]) == 0
        shown = capsys.readouterr().out
        assert not re.search(r"<(bool|str|int|float|path|list)\b", shown), name
        assert "``" not in shown, name
        assert max(len(line) for line in shown.splitlines()) <= 100
    cli.run(["optimize", "--help"])
    shown = capsys.readouterr().out
    assert re.search(r"--out +FILE +Write the plan", shown)
    assert re.search(r"--json +Print one JSON", shown)
    assert re.search(r"--max-changes +N \[x>=0\]", shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_tells_people_to_type_exists(page: Path) -> None:
    text = page.read_text()
    for match in TYPED.finditer(text):
        words = re.sub(r"[\[\]|(){};,:]", " ", match[1]).split()
        place = f"{page.name}:{text.count(chr(10), 0, match.start()) + 1}: routewright {match[1]}"
        command = program()
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert command is not program(), place
        if getattr(command, "commands", None):  # a whole group is meant
            continue
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0].rstrip(".'") in known | {"--help"}, place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles], target
