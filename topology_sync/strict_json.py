"""Strict JSON: every key known, every number finite and bounded, every error one line that names its place.

Also reads and writes the files themselves, plain or compressed, within a size limit.
"""

from __future__ import annotations

import difflib
import gzip
import json
import lzma
import math
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

from topology_sync.errors import InputError, ScenarioError
from topology_sync.output_files import write_output

MAX_FILE_BYTES = 256 * 2**20
MAX_NAME_LENGTH = 200
_LZMA_MEMORY_BYTES = 512 * 2**20
_CHUNK_BYTES = 2**20

Choice = TypeVar("Choice", bound=str)


def shown(value: object, limit: int = 60) -> str:
    """``value`` as it may stand in a one-line message: JSON-like, printable, cut at ``limit`` characters."""
    if isinstance(value, dict | list | tuple):
        kind = "an object" if isinstance(value, dict) else "a list"
        return kind if value else f"an empty {kind.split()[1]}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        cut = value if len(value) <= limit else value[: limit - 3] + "..."
        return repr(cut) if cut.isprintable() else ascii(cut)
    if isinstance(value, int) and abs(value) >= 10**limit:
        return "a huge integer"
    return repr(value)[:limit]


def printable(key: str) -> str:
    """A key as part of a place: itself where it is short and printable, quoted and cut otherwise."""
    return key if key and key.isprintable() and len(key) <= 60 else shown(key)


def suggestion(key: str, known: Iterable[str]) -> str:
    """``did you mean ...?`` for an unknown key, or the list of what is known."""
    known = tuple(known)
    close = difflib.get_close_matches(key[:MAX_NAME_LENGTH], known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


class JsonObject:
    """One JSON object at a known place, read key by key.  Raises ``error`` for whatever does not fit."""

    def __init__(self, data: object, place: str, known: Sequence[str], error: type[InputError] = ScenarioError) -> None:
        self.place = place
        self.error = error
        if not isinstance(data, dict):
            raise error(place or "the whole", f"is {shown(data)}", "give an object {...}")
        self.data: dict[str, Any] = data
        for key in data:
            if not isinstance(key, str):
                raise error(place, f"key {shown(key)} is no text", "write keys as text")
            if key not in known:
                raise error(self.place_of(key), "unknown key", suggestion(key, known))

    def place_of(self, key: str) -> str:
        """Where ``key`` of this object stands."""
        return f"{self.place}.{printable(key)}" if self.place else printable(key)

    def fail(self, key: str, problem: str, remedy: str = "") -> NoReturn:
        """Raise the error of this object for one of its keys."""
        raise self.error(self.place_of(key), problem, remedy)

    def has(self, key: str) -> bool:
        """Is the key there (null counts as there)?"""
        return key in self.data

    def need(self, key: str) -> Any:
        """The raw value of a key that must be there."""
        if key not in self.data:
            self.fail(key, "is missing", "add it")
        return self.data[key]

    def number(self, key: str, low: float, high: float, default: float | None = None, above: bool = False) -> float:
        """A finite number from ``low`` (``above``: not itself) to ``high``."""
        if default is not None and key not in self.data:
            return default
        return check_number(self.need(key), self.place_of(key), low, high, above, self.error)

    def optional_number(self, key: str, low: float, high: float, above: bool = False) -> float | None:
        """Like ``number``, None where the key is missing or null."""
        return None if self.data.get(key) is None else self.number(key, low, high, above=above)

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number in a range; 3.0 is no whole number."""
        if default is not None and key not in self.data:
            return default
        return check_integer(self.need(key), self.place_of(key), low, high, self.error)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """true or false."""
        if default is not None and key not in self.data:
            return default
        value = self.need(key)
        if not isinstance(value, bool):
            self.fail(key, f"is {shown(value)}", "give true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A name: printable text of 1 to 200 characters."""
        if default is not None and key not in self.data:
            return default
        return check_name(self.need(key), self.place_of(key), self.error)

    def choice(self, key: str, choices: Sequence[Choice], default: Choice | None = None) -> Choice:
        """One of a few words."""
        if default is not None and key not in self.data:
            return default
        value = self.need(key)
        found = next((choice for choice in choices if isinstance(value, str) and value == choice), None)
        if found is None:
            self.fail(key, f"is {shown(value)}", f"give one of {', '.join(choices)}")
        return found

    def items(self, key: str, optional: bool = False) -> list[Any]:
        """A list of anything; empty where ``optional`` and missing."""
        if optional and key not in self.data:
            return []
        value = self.need(key)
        if not isinstance(value, list):
            self.fail(key, f"is {shown(value)}", "give a list [...]")
        return value

    def child(self, key: str, known: Sequence[str]) -> JsonObject:
        """An object inside this one."""
        return JsonObject(self.need(key), self.place_of(key), known, self.error)

    def children(self, key: str, known: Sequence[str], optional: bool = False) -> list[JsonObject]:
        """A list of objects."""
        place = self.place_of(key)
        items = self.items(key, optional)
        return [JsonObject(item, f"{place}[{index}]", known, self.error) for index, item in enumerate(items)]

    def numbers(self, key: str, low: float, high: float, above: bool = False) -> tuple[float, ...]:
        """A list of finite numbers; empty where missing."""
        place = self.place_of(key)
        return tuple(
            check_number(item, f"{place}[{index}]", low, high, above, self.error)
            for index, item in enumerate(self.items(key, optional=True))
        )

    def names(self, key: str) -> tuple[str, ...]:
        """A list of names."""
        place = self.place_of(key)
        return tuple(check_name(item, f"{place}[{index}]", self.error) for index, item in enumerate(self.items(key)))

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """A list of whole numbers."""
        place = self.place_of(key)
        return tuple(
            check_integer(item, f"{place}[{index}]", low, high, self.error)
            for index, item in enumerate(self.items(key))
        )


def check_number(value: object, place: str, low: float, high: float, above: bool, error: type[InputError]) -> float:
    """``value`` as a float if it is a finite number in range; booleans are not numbers."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        # an integer is compared as it is: it may be too large for a float
        fits = low < value <= high if above else low <= value <= high
        if fits and math.isfinite(value):
            return float(value)
    start = f"above {low:g}" if above else f"of {low:g} or more"
    raise error(place, f"is {shown(value)}", f"give a number {start}, up to {high:g}")


def check_integer(value: object, place: str, low: int, high: int, error: type[InputError]) -> int:
    """``value`` if it is a whole number in range."""
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise error(place, f"is {shown(value)}", f"give a whole number from {low} to {high}")


def check_name(value: object, place: str, error: type[InputError]) -> str:
    """``value`` if it is a printable name of 1 to 200 characters."""
    if isinstance(value, str) and 0 < len(value) <= MAX_NAME_LENGTH and value.isprintable():
        return value
    raise error(place, f"is {shown(value)}", f"give printable text of 1 to {MAX_NAME_LENGTH} characters")


def check_format(data: object, expected: str, error: type[InputError] = ScenarioError) -> None:
    """Raise unless ``data`` is an object of the ``expected`` format; asked first, so that a wrong file is told so."""
    if not isinstance(data, dict):
        raise error("the whole", f"is {shown(data)}", f"give an object with format {expected}")
    found = data.get("format")
    if found != expected or not isinstance(found, str):
        problem = f"is {shown(found)}" if "format" in data else "is missing"
        raise error("format", problem, f'give "{expected}"')


def in_file(error: InputError, path: Path | str) -> InputError:
    """The same error with the file it was found in before its place."""
    place = f"{path}: {error.place}" if error.place else str(path)
    return type(error)(printable_path(place), error.problem, error.remedy)


def printable_path(text: str) -> str:
    """A path as it may stand in a message."""
    return text if text.isprintable() else ascii(text)


def parse_json(text: str, error: type[InputError] = ScenarioError) -> object:
    """Parse JSON text; refuses NaN, Infinity, keys given twice and nesting without end."""

    def constant(name: str) -> NoReturn:
        raise error("", f"{name} is no JSON number", "give a finite number or null")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            seen: set[str] = set()
            repeated = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise error("", f"key {shown(repeated)} is given twice in one object", "keep one")
        return found

    try:
        return json.loads(text, parse_constant=constant, object_pairs_hook=pairs)
    except RecursionError:
        raise error("", "is nested too deeply", "give a flat file") from None
    except json.JSONDecodeError as problem:
        raise error(f"line {problem.lineno} column {problem.colno}", f"is no JSON ({problem.msg})") from None
    except ValueError:
        raise error("", "has a number with too many digits", "give plain numbers") from None


def read_bytes(path: Path, error: type[InputError] = ScenarioError, limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a file, unpacked where it ends in .gz or .xz; at most ``limit`` bytes, unpacked."""
    try:
        with path.open("rb") as file:
            if path.suffix == ".gz":
                content = gzip.GzipFile(fileobj=file).read(limit + 1)
            elif path.suffix == ".xz":
                content = _unpack_xz(file, limit)
            else:
                content = file.read(limit + 1)
    except FileNotFoundError:
        raise error(printable_path(str(path)), "there is no such file", "check the path") from None
    except (gzip.BadGzipFile, zlib.error, EOFError, lzma.LZMAError) as problem:
        kind = path.suffix.lstrip(".")
        raise error(printable_path(str(path)), f"is no whole {kind} file ({problem})", "pack it again") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise error(printable_path(str(path)), f"cannot be read ({reason})", "give a readable file") from None
    if len(content) > limit:
        raise error(printable_path(str(path)), f"is larger than {limit // 2**20} MiB", "give a smaller file")
    return content


def _unpack_xz(file: BinaryIO, limit: int) -> bytes:
    unpacker = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY_BYTES)
    content = bytearray()
    while not unpacker.eof and len(content) <= limit:
        packed = file.read(_CHUNK_BYTES) if unpacker.needs_input else b""
        if unpacker.needs_input and not packed:
            raise EOFError("it ends too early")
        content += unpacker.decompress(packed, max_length=limit + 1 - len(content))
    return bytes(content)


def read_text(path: Path, error: type[InputError] = ScenarioError, limit: int = MAX_FILE_BYTES) -> str:
    """The UTF-8 text of a file, see ``read_bytes``."""
    try:
        return read_bytes(path, error, limit).decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(printable_path(str(path)), f"is no UTF-8 text (byte {problem.start})", "save it as UTF-8") from None


def read_json(path: Path, error: type[InputError] = ScenarioError, limit: int = MAX_FILE_BYTES) -> object:
    """The JSON value in a file (.json, .json.gz, .json.xz).  Errors name the file."""
    text = read_text(path, error, limit)
    try:
        return parse_json(text, error)
    except InputError as problem:
        raise in_file(problem, path) from None


def format_json(data: dict[str, Any]) -> str:
    """JSON text of an object with one line per key and, in lists, one line per entry: short, and readable in a diff."""
    lines = []
    for key, value in data.items():
        if isinstance(value, list) and value and isinstance(value[0], dict | list):
            entries = ",\n  ".join(json.dumps(entry, allow_nan=False, ensure_ascii=False) for entry in value)
            lines.append(f" {json.dumps(key)}: [\n  {entries}]")
        elif isinstance(value, dict) and any(isinstance(inner, list) for inner in value.values()):
            inner_text = format_json(value).rstrip("\n").replace("\n", "\n ")
            lines.append(f" {json.dumps(key)}: {inner_text}")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value, allow_nan=False, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def write_json(data: dict[str, Any], path: Path) -> None:
    """Write an object as JSON, packed where ``path`` ends in .gz or .xz.  The same object gives the same bytes."""
    content = format_json(data).encode()
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    elif path.suffix == ".xz":
        content = lzma.compress(content)
    write_output(path, content)
