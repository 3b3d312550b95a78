"""Powers anew each interval: what a controller calls with the gains it measured, and the loop around it.

A controller that can measure gains and set powers gives the loop a ``GainFeed`` and a ``PowerSink`` of its own.  What
comes with Routewright are a recording read from a file and a synthetic channel whose fading moves; no radio was driven
with them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from gnn_model.wireless.layout import Layout, check_over_noise, gains_matrix
from gnn_model.wireless.recommend import Method, Recommendation, recommend
from topology_sync.errors import InputError
from topology_sync.strict_json import JsonObject, in_file, parse_json
from topology_sync.values import FloatArray, bool_array, float_array

MAX_LINE = 2**26
SHADOWING_MEMORY = 0.98
FADING_MEMORY = 0.8
SHADOWING_DB = 3.0


@dataclass(frozen=True)
class Measurement:
    """Gains at one time: ``gains`` [links, links] over the noise at full power; NaN where nothing was heard now."""

    time_s: float
    gains: FloatArray


class GainFeed(Protocol):
    """Where measured gains come from."""

    def measurements(self) -> Iterator[Measurement]:
        """One measurement per interval until there are no more."""
        ...


class PowerSink(Protocol):
    """Where powers go."""

    def apply(self, measurement: Measurement, found: Recommendation) -> None:
        """Set the powers; called once per interval."""
        ...


class PowerApplication:
    """The loop: take the measured gains, recommend, hand the powers on, wait for the next interval.

    A gain that was not heard in an interval keeps its last value.  ``clock`` and ``sleep`` are arguments for tests.
    """

    def __init__(
        self,
        feed: GainFeed,
        sink: PowerSink,
        layout: Layout,
        method: Method = Method.HYBRID,
        interval_s: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._feed = feed
        self._sink = sink
        self._layout = layout
        self._method = method
        self._interval_s = interval_s
        self._clock = clock
        self._sleep = sleep

    def run(self) -> int:
        """Serve the feed to its end; returns the number of intervals."""
        count = 0
        due = self._clock()
        for measurement in self._feed.measurements():
            self._sleep(max(0.0, due - self._clock()))
            self._sink.apply(measurement, self.powers_for(measurement))
            # an interval that took too long is not made up for by hurrying through the next ones
            due = max(due + self._interval_s, self._clock())
            count += 1
        return count

    def powers_for(self, measurement: Measurement) -> Recommendation:
        """Recommend for one measurement, and remember its gains."""
        heard = np.isfinite(measurement.gains)
        self._layout = replace(
            self._layout,
            gains=float_array(np.where(heard, measurement.gains, self._layout.gains)),
            measured=bool_array(heard | self._layout.measured),
        )
        return recommend(self._layout, self._method, at_once=True)


class SyntheticFeed:
    """Gains of a layout whose shadowing drifts and whose fading moves, both as first-order autoregressions."""

    def __init__(self, layout: Layout, intervals: int, interval_s: float, seed: int) -> None:
        self._layout = layout
        self._intervals = intervals
        self._interval_s = interval_s
        self._random = np.random.default_rng(seed)

    def measurements(self) -> Iterator[Measurement]:
        """``intervals`` measurements."""
        shape = self._layout.gains.shape
        shadowing_db = SHADOWING_DB * self._random.standard_normal(shape)
        scattered = self._random.standard_normal((2, *shape))
        for interval in range(self._intervals):
            shadowing_db = _moved(shadowing_db, SHADOWING_MEMORY, SHADOWING_DB, self._random)
            scattered = _moved(scattered, FADING_MEMORY, 1.0, self._random)
            fading = (scattered**2).sum(axis=0) / 2.0
            gains = self._layout.gains * 10.0 ** (shadowing_db / 10.0) * fading
            yield Measurement(interval * self._interval_s, gains)


class RecordedFeed:
    """Gains from a file with one JSON object a line: ``{"time_s": 0.1, "gains_db": [[...], ...]}``, null = not heard.

    ``gains_db`` as in the layout (row = receiver), which also says full power and noise.  Raises InputError that names
    the line.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path = path
        self._layout = layout

    def measurements(self) -> Iterator[Measurement]:
        """One measurement per line."""
        try:
            with self._path.open(encoding="utf-8") as file:
                number = 0
                while line := file.readline(MAX_LINE):
                    number += 1
                    if line.strip():
                        yield self._measurement(line, number)
        except (OSError, UnicodeDecodeError) as problem:
            reason = getattr(problem, "strerror", None) or "no UTF-8 text"
            raise InputError(str(self._path), f"cannot be read ({reason})", "give a readable file") from None

    def _measurement(self, line: str, number: int) -> Measurement:
        try:
            told = JsonObject(parse_json(line, InputError), "", ("time_s", "gains_db"), InputError)
            gains_db = gains_matrix(told.items("gains_db"), len(self._layout.links), "gains_db")
            over_noise_db = gains_db + self._layout.power_dbm - self._layout.noise_dbm
            check_over_noise(over_noise_db, "gains_db")
            time_s = told.number("time_s", 0.0, 1e12)
        except InputError as problem:
            raise in_file(problem.within(f"line {number}"), self._path) from None
        return Measurement(time_s, np.asarray(10.0 ** (over_noise_db / 10.0)))


class JsonLines:
    """Prints every interval's powers as one line of JSON."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def apply(self, measurement: Measurement, found: Recommendation) -> None:
        """Write one line."""
        line = {
            "time_s": round(measurement.time_s, 6),
            "powers": [round(power, 6) for power in found.powers.tolist()],
            "sum_rate_bit_s_hz": float(found.rates.sum()),
            "violation_bit_s_hz": float(found.violation.sum()),
            "seconds": found.seconds,
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def _moved(values: FloatArray, memory: float, deviation: float, random: np.random.Generator) -> FloatArray:
    fresh = deviation * np.sqrt(1.0 - memory**2) * random.standard_normal(values.shape)
    return np.asarray(memory * values + fresh)
