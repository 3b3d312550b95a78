"""Scenarios for commands: from all that :mod:`topology_sync.sources` reads, and from datanet directories."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import get_args
from urllib.parse import parse_qsl

from gnn_model.datanet import RateSource, iterate_samples
from topology_sync import sources
from topology_sync.errors import ScenarioError
from topology_sync.scenario import Scenario
from topology_sync.strict_json import printable_path, shown, suggestion

SAMPLE_KEYS = ("sample", "rate")


def load_scenario(source: str, *, demands: Path | None = None) -> Scenario:
    """The scenario at ``source``.  Raises ScenarioError.

    ``DIR[?sample=N&rate=offered]`` is the N-th usable sample (from 0, the default) of the datanet directories at or
    below DIR, with the rates that its simulation measured, or with those it was asked for.
    """
    name, _, options = source.partition("?")
    if os.path.isdir(source):
        name, options = source, ""
    if not os.path.isdir(name):
        return sources.load_scenario(source, demands=demands)
    if demands is not None:
        raise ScenarioError("--demands", "does not go with directories", "use it with X.graph only")
    number, rate = _options(options)
    found = next(islice(iterate_samples(Path(name), rate=rate), number, None), None)
    if found is None:
        raise ScenarioError(printable_path(name), f"has no sample {number}", "give a smaller number, from 0")
    return found.scenario


def _options(text: str) -> tuple[int, RateSource]:
    number, rate = 0, "measured"
    for key, value in parse_qsl(text, keep_blank_values=True):
        if key not in SAMPLE_KEYS:
            raise ScenarioError(f"option {key}", "unknown key", suggestion(key, SAMPLE_KEYS))
        if key == "sample":
            if not (value.isascii() and value.isdigit() and len(value) < 10):
                raise ScenarioError("option sample", f"is {shown(value)}", "give a whole number of 0 or more")
            number = int(value)
        else:
            rate = value
    for known in get_args(RateSource):
        if rate == known:
            return number, known
    raise ScenarioError("option rate", f"is {shown(rate)}", f"give {' or '.join(get_args(RateSource))}")
