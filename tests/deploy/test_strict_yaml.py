"""YAML is read as plain data of the YAML 1.2 core schema, or refused in one line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.strict_yaml import parse_yaml, read_yaml
from topology_sync.errors import ConfigurationError


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = "{a: no, b: 010, c: 10:20:30, d: 1e3, e: 0x1F, f: -.5, g: 2020-01-01, h: ~, i: true, j: '1', k: +5, l: 0o17}"
    assert parse_yaml(text) == {
        "a": "no",
        "b": "010",
        "c": "10:20:30",
        "d": 1000.0,
        "e": 31,
        "f": -0.5,
        "g": "2020-01-01",
        "h": None,
        "i": True,
        "j": "1",
        "k": 5,
        "l": 15,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2", "line 2 column 1: key 'a' is given twice, keep one"),
        ("a: &x 1\nb: *x", "line 2 column 4: aliases are not allowed, write the value out"),
        ("1: 2", "line 1 column 1: key 1 is no text, put it in quotes"),
        ("? [a]\n: 1", "line 1 column 3: key a list is no text, put it in quotes"),
        ("a: [", "line 1 column 5: expected the node content, but found '<stream end>'"),
        ("[" * 100_000, "line 1 column 51: is nested too deeply"),
        ("a: 1\nb: \x07", "line 2: has a character that YAML does not allow; remove it"),
        ("a: !!python/object:os.system x", "line 1 column 4: could not determine a constructor for the tag"),
        ("a: " + "9" * 5000, "line 1 column 4: '9999"),
        ("--- 1\n--- 2", "line 2 column 1: but found another document"),
        ("\ta: 1", "line 1 column 1: found character"),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_line(text: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_yaml(text)
    assert str(caught.value).startswith(expected)
    assert str(caught.value).isprintable()


def test_a_doubling_chain_of_aliases_costs_nothing() -> None:
    levels = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    with pytest.raises(ConfigurationError, match="aliases are not allowed"):
        parse_yaml("\n".join(levels))


@given(st.text(alphabet=st.sampled_from("ab:-[]{}#&*!|>'\"%@` \n\t01.~?,\\x\0\ud7ff"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_yaml(text)
    except ConfigurationError as error:
        line = str(error)
    else:
        line = "read"
    assert line.isprintable()


def test_files_are_named_and_limited(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text("a: 1\na: 2")
    with pytest.raises(ConfigurationError, match=r"demo\.yaml: line 2 column 1: key 'a' is given twice"):
        read_yaml(path)
    path.write_text("#" * (2**20 + 1))
    with pytest.raises(ConfigurationError, match=r"demo\.yaml: is larger than 1 MiB"):
        read_yaml(path)
    path.write_bytes(b"a: \xff")
    with pytest.raises(ConfigurationError, match=r"demo\.yaml: is no UTF-8 text"):
        read_yaml(path)
    with pytest.raises(ConfigurationError, match="there is no such file"):
        read_yaml(tmp_path / "none.yaml")
