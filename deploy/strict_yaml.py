"""Safe and strict YAML: plain data only, no aliases, no key twice, and only the scalars of the YAML 1.2 core schema.

YAML 1.1, which PyYAML reads by default, takes ``no`` for false, ``010`` for 8 and ``10:20:30`` for a number; the core
schema (YAML 1.2.2, section 10.3) does not.  Integers with leading zeros stay text, so that datapath ids keep theirs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from topology_sync.errors import ConfigurationError
from topology_sync.strict_json import printable_path, read_text, shown

MAX_FILE_BYTES = 2**20
MAX_DEPTH = 50


class _Loader(yaml.SafeLoader):
    """SafeLoader without aliases and repeated keys, scalars as in YAML 1.2."""

    _depth = 0
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="aliases are not allowed, write the value out", problem_mark=event.start_mark
            )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="is nested too deeply", problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"key {shown(key)} is no text, put it in quotes", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {shown(key)} is given twice, keep one", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    try:
        return int(text, 0)
    except ValueError:
        raise yaml.MarkedYAMLError(problem=f"{shown(text)} is no integer", problem_mark=node.start_mark) from None


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    try:
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        raise yaml.MarkedYAMLError(problem=f"{shown(text)} is no number", problem_mark=node.start_mark) from None


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), [letter.strip("\0") for letter in _first]
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def parse_yaml(text: str) -> object:
    """The plain data in one YAML document.  Raises ConfigurationError with line and column."""
    loader = _Loader("")
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigurationError(f"line {line}", "has a character that YAML does not allow", "remove it") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1} column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context or "is no YAML"
        raise ConfigurationError(place, "".join(c if c.isprintable() else "?" for c in problem)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ConfigurationError("", f"is no YAML ({type(error).__name__})", "mend it") from None
    finally:
        loader.dispose()


def read_yaml(path: Path) -> object:
    """The plain data in a YAML file.  Raises ConfigurationError naming file and line."""
    text = read_text(path, ConfigurationError, MAX_FILE_BYTES)
    try:
        return parse_yaml(text)
    except ConfigurationError as error:
        place = f"{printable_path(str(path))}: {error.place}" if error.place else printable_path(str(path))
        raise ConfigurationError(place, error.problem, error.remedy) from None
