"""XML from outside, read without entities: a file with a document type is refused before it is parsed."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from topology_sync.errors import ScenarioError
from topology_sync.strict_json import printable_path, read_text

MAX_FILE_BYTES = 64 * 2**20
_MAX_DEPTH = 100


def read_xml(path: Path) -> ElementTree.Element:
    """The root element of an XML file, names without their namespace.  Raises ScenarioError naming the file."""
    return parse_xml(read_text(path, limit=MAX_FILE_BYTES), printable_path(str(path)))


def parse_xml(text: str, place: str) -> ElementTree.Element:
    """The root element of XML text, names without their namespace.  Raises ScenarioError at ``place``."""
    if re.search(r"<!(DOCTYPE|ENTITY)", text):
        raise ScenarioError(place, "has a document type or entities", "remove <!DOCTYPE ...> and what belongs to it")
    parser = ElementTree.XMLParser(target=_Builder(place))
    try:
        parser.feed(text)
        return parser.close()
    except (ElementTree.ParseError, ValueError) as problem:
        raise ScenarioError(place, f"is no XML ({problem})", "mend it") from None


class _Builder(ElementTree.TreeBuilder):
    """Drops namespaces, and stops where elements are nested without end."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place
        self._depth = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> ElementTree.Element:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ScenarioError(self._place, "is nested too deeply", "give a flat file")
        return super().start(tag.rpartition("}")[2], attrs)

    def end(self, tag: str, /) -> ElementTree.Element:
        self._depth -= 1
        return super().end(tag.rpartition("}")[2])
