"""Random damage: to the structure of a valid file, to its text and to its bytes."""

from __future__ import annotations

import copy
import gzip
import json
import lzma
import math
import random
from collections.abc import Callable
from typing import Any

import yaml

WORDS = [
    "",
    " ",
    "x",
    "default",
    "a\nb",
    "\x1b[31m",
    "\u2028",
    "\U0001f600",
    "n" * 300,
    "../..",
    "%s",
    "null",
    "1e999",
    "a:b",
]
NUMBERS = [
    0,
    -1,
    1,
    0.5,
    2**31,
    2**63,
    2**64,
    10**30,
    10**400,
    1e-320,
    1e308,
    -1e308,
    -0.0,
    math.nan,
    math.inf,
    -math.inf,
]

Value = Any
Place = tuple[Any, Any]  # a container and a key or index in it


def odd_value(random_source: random.Random) -> Value:
    """A value that hardly fits anywhere."""
    return random_source.choice(
        [
            lambda: random_source.choice(WORDS),
            lambda: random_source.choice(NUMBERS),
            lambda: random_source.choice([None, True, False]),
            lambda: random_source.choice([[], {}, [[]], {"": {}}, [None], {"a": 1}]),
            lambda: nested(random_source.choice([5, 50, 120]), random_source.choice([list, dict])),
            lambda: random_source.uniform(-10, 10) * 10 ** random_source.randint(-12, 12),
            lambda: random_source.randint(-5, 70000),
        ]
    )()


def nested(depth: int, kind: type) -> Value:
    """Lists or objects within one another."""
    value: Value = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


def places(data: Value) -> list[Place]:
    """Every place in a structure that can be changed."""
    found: list[Place] = []
    stack = [data]
    while stack:
        value = stack.pop()
        keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for key in keys:
            found.append((value, key))
            stack.append(value[key])
    return found


def damage(data: Value, random_source: random.Random) -> Value:
    """A copy with one to four places deleted, renamed, doubled, swapped or given an odd value."""
    data = copy.deepcopy(data)
    for _ in range(random_source.choice([1, 1, 1, 1, 2, 4])):
        known = places(data)
        if not known:
            break
        container, key = random_source.choice(known)
        _damage_one(container, key, known, random_source)
    return data


def _damage_one(container: Any, key: Any, known: list[Place], random_source: random.Random) -> None:
    kind = random_source.choice([0, 1, 2, 3, 4, 5, 5, 5, 5, 6, 7])
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        letters = list(key)
        if letters:
            letters[random_source.randrange(len(letters))] = random_source.choice("aeiou_ ")
        container["".join(letters)] = container.pop(key)
    elif kind == 2 and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    elif kind == 3:
        other_container, other_key = random_source.choice(known)
        try:
            container[key] = copy.deepcopy(other_container[other_key])
        except (KeyError, IndexError):  # an earlier step took it away
            container[key] = None
    elif kind == 4 and isinstance(container, dict):
        container[random_source.choice(WORDS)] = odd_value(random_source)
    elif kind == 5 and isinstance(container[key], int | float) and not isinstance(container[key], bool):
        factor = random_source.choice([0, -1, 1e-9, 1e-3, 0.99, 1.01, 1e3, 1e9])
        scaled = container[key] * factor if abs(container[key]) < 1e300 else 0
        container[key] = int(scaled) if isinstance(container[key], int) and random_source.random() < 0.8 else scaled
    elif kind == 6 and isinstance(container[key], str):
        text = container[key]
        at = random_source.randint(0, len(text))
        container[key] = text[:at] + random_source.choice(WORDS) + text[at:]
    else:
        container[key] = odd_value(random_source)


def as_json(data: Value, random_source: random.Random) -> str:
    """JSON text (with NaN as Python writes it), sometimes with a key given twice."""
    text = json.dumps(data, ensure_ascii=random_source.random() < 0.5)
    if random_source.random() < 0.05 and text.startswith("{") and len(text) > 2:
        first = text[1:].split(":", 1)[0]
        text = f"{{{first}: 1, {text[1:]}"
    return text


def as_yaml(data: Value, random_source: random.Random) -> str:
    """YAML text, sometimes with what YAML has beyond plain data."""
    text = yaml.safe_dump(data, default_flow_style=random_source.choice([None, True, False]), allow_unicode=True)
    if random_source.random() < 0.2:
        lines = text.split("\n")
        at = random_source.randrange(len(lines))
        extra = [
            "a: &a [1]\nb: *a",
            "x: !!python/object:os.system ls",
            "\t",
            "version: 1",
            "---",
            "? [a]\n: b",
            "<<: *x",
            "...",
            "%YAML 9",
        ]
        lines.insert(at, random_source.choice([*extra, lines[at]]))
        text = "\n".join(lines)
    return text


def damage_bytes(content: bytes, random_source: random.Random) -> bytes:
    """The content cut, with bytes changed, or something else entirely."""
    steps: list[Callable[[], bytes]] = [
        lambda: content[: random_source.randrange(len(content) + 1)],
        lambda: _changed(content, random_source),
        lambda: content + random_source.randbytes(random_source.randrange(1, 40)),
        lambda: random_source.randbytes(random_source.randrange(200)),
        lambda: content * 2,
        lambda: b"\xef\xbb\xbf" + content,
        lambda: content.decode("utf-8", "replace").encode("utf-16"),
        lambda: random_source.choice([b"[", b"{", b"- ", b'{"a":']) * random_source.choice([3, 2000, 100_000]),
    ]
    return random_source.choice(steps)()


def _changed(content: bytes, random_source: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random_source.randint(1, 5)):
        if changed:
            changed[random_source.randrange(len(changed))] = random_source.randrange(256)
    return bytes(changed)


def packed(content: bytes, suffix: str) -> bytes:
    """The content as a .gz or .xz file."""
    return gzip.compress(content, 1, mtime=0) if suffix == ".gz" else lzma.compress(content, preset=0)
