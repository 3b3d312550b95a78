"""Strict JSON refuses what it does not know, in one line that names the place."""

import contextlib
import gzip
import json
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology_sync.errors import PlanError, ScenarioError
from topology_sync.strict_json import JsonObject, format_json, parse_json, read_json, shown, write_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def error_of(call, *arguments, kind=ScenarioError) -> str:
    with pytest.raises(kind) as caught:
        call(*arguments)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert text.isprintable()
    return text


@given(st.dictionaries(st.text(), json_values))
def test_formatting_keeps_every_value(data) -> None:
    assert parse_json(format_json(data)) == data


@given(json_values)
def test_any_value_can_be_shown_in_one_short_line(value) -> None:
    assert shown(value).isprintable()
    assert len(shown(value)) < 620  # 60 characters, each perhaps escaped


@given(st.text())
def test_any_text_is_parsed_or_refused_in_one_line(text) -> None:
    with contextlib.suppress(ScenarioError):
        parse_json(text)
        return
    error_of(parse_json, text)


@pytest.mark.parametrize("text", ["[NaN]", "[Infinity]", '{"a": 1, "a": 2}', "[" * 100_000, "1" * 5000, "{", ""])
def test_what_json_does_not_allow_is_refused(text: str) -> None:
    error_of(parse_json, text)


def test_an_unknown_key_is_named_with_what_was_meant() -> None:
    assert error_of(JsonObject, {"rate": 1}, "traffic[3]", ("rate_bps", "source")) == (
        "traffic[3].rate: unknown key; did you mean rate_bps?"
    )


@pytest.mark.parametrize("value", [True, "1", None, [], {}, float("nan"), float("inf"), -1, 11, 10**400])
def test_numbers_are_numbers_in_range(value) -> None:
    item = JsonObject({"x": value}, "here", ("x",), PlanError)
    assert error_of(item.number, "x", 0, 10, kind=PlanError).startswith("here.x: is ")
    assert error_of(item.integer, "x", 0, 10, kind=PlanError).startswith("here.x: is ")


def test_a_whole_number_is_not_written_with_a_point() -> None:
    item = JsonObject({"x": 3.0}, "", ("x",))
    assert item.number("x", 0, 10) == 3.0
    assert error_of(item.integer, "x", 0, 10) == "x: is 3.0; give a whole number from 0 to 10"


@pytest.mark.parametrize("value", ["", "a\nb", "\x1b[2J", "\ud800", "x" * 201, 3, None])
def test_names_are_printable(value) -> None:
    error_of(JsonObject({"x": value}, "", ("x",)).text, "x")


@pytest.mark.parametrize("suffix", ["json", "json.gz", "json.xz"])
def test_files_keep_values_packed_or_not(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"file.{suffix}"
    write_json({"a": [1, 2.5, "ä"]}, path)
    first = path.read_bytes()
    write_json({"a": [1, 2.5, "ä"]}, path)
    assert path.read_bytes() == first
    assert read_json(path) == {"a": [1, 2.5, "ä"]}


def test_broken_files_are_refused_by_name(tmp_path: Path) -> None:
    content = json.dumps({"a": list(range(1000))}).encode()
    for name, data in [
        ("cut.json.gz", gzip.compress(content)[:-20]),
        ("cut.json.xz", lzma.compress(content)[:-20]),
        ("other.json.gz", content),
        ("other.json.xz", content),
        ("empty.json.xz", b""),
        ("bytes.json", b"\xff\xfe{}"),
        ("cut.json", content[:-5]),
    ]:
        (tmp_path / name).write_bytes(data)
        assert name in error_of(read_json, tmp_path / name)
    assert "no such file" in error_of(read_json, tmp_path / "none.json")
    assert "cannot be read" in error_of(read_json, tmp_path)
    assert "cannot be read" in error_of(read_json, Path("a\0b"))


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("xz", lzma.compress), ("json", bytes)])
def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, suffix: str, pack) -> None:
    path = tmp_path / f"bomb.{suffix}"
    path.write_bytes(pack(b" " * 5_000_000))
    with pytest.raises(ScenarioError, match="larger than 1 MiB"):
        read_json(path, limit=2**20)
