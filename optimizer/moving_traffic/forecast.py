"""The rates to plan for: not those of the last snapshot, but those that the plan will meet.

A plan is decided on a window that has passed and carries the traffic of the windows to come.  Per demand a straight
line is fitted to its recent rates, the newest weighted most; a rise well beyond its standard error is carried on over
the horizon, and the spread around the line is added as a margin.  Rates are never planned below the last one measured;
where no demand rises noticeably, all are planned for as measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from optimizer.moving_traffic.outlook import recency_weights
from topology_sync.values import BoolArray, FloatArray, float_array

Key = tuple[str, str, str]

FEWEST_SAMPLES = 4
SIGNIFICANCE = 4.0  # standard errors; hundreds of steady demands must not seem to rise by chance
NOTICEABLE_SHARE = 0.005  # of all traffic
DECAY = 0.85


@dataclass(frozen=True)
class ForecastSettings:
    """``horizon_s``: how far ahead a plan looks, 0 plans for the last snapshot.  ``margin``: standard deviations added
    for what the line does not explain.  ``max_growth``: never more than this times the largest rate seen.
    ``noticeable_ratio``: unless a demand is to rise by more than this, the forecast changes nothing.
    """

    horizon_s: float = 30.0
    margin: float = 1.0
    max_growth: float = 2.0
    noticeable_ratio: float = 0.1
    samples: int = 24

    @property
    def enabled(self) -> bool:
        """Whether to look ahead at all."""
        return self.horizon_s > 0


@dataclass(eq=False)
class RateHistory:
    """Measured rates of the last snapshots, by demand key, at least half a measurement window apart."""

    settings: ForecastSettings = field(default_factory=ForecastSettings)
    _samples: list[tuple[float, dict[Key, float]]] = field(default_factory=list)

    def note(self, time_s: float, window_s: float, keys: Sequence[Key], rate_bps: FloatArray) -> None:
        """Remember a snapshot: ``rate_bps`` [demands] measured over ``window_s`` up to ``time_s``."""
        if not self.settings.enabled:
            return
        if self._samples and time_s < self._samples[-1][0]:
            self._samples.clear()  # the controller's clock was set back
        if self._samples and time_s - self._samples[-1][0] < 0.5 * window_s:
            return
        measured = dict(zip(keys, np.nan_to_num(rate_bps).tolist(), strict=True))
        self._samples = [*self._samples, (time_s, measured)][-self.settings.samples :]

    def rates_to_plan_for(self, time_s: float, keys: Sequence[Key], rate_bps: FloatArray) -> FloatArray:
        """Rates [demands] from ``time_s`` on, given those measured now; the very same array when nothing moves."""
        if not self.settings.enabled or len(self._samples) < FEWEST_SAMPLES:
            return rate_bps
        times = np.array([sample[0] for sample in self._samples])
        seen = np.array([[sample[1].get(key, np.nan) for key in keys] for sample in self._samples])
        complete = np.isfinite(seen).all(axis=0)
        planned, rising = forecast_rates(times - time_s, np.nan_to_num(seen), rate_bps, self.settings)
        planned = np.where(complete, planned, rate_bps)
        rise = planned - rate_bps
        noticeable = (rise > self.settings.noticeable_ratio * rate_bps) & (rise > NOTICEABLE_SHARE * rate_bps.sum())
        return float_array(planned) if (noticeable & rising).any() else rate_bps


def forecast_rates(
    ages_s: FloatArray, seen_bps: FloatArray, last_bps: FloatArray, settings: ForecastSettings
) -> tuple[FloatArray, BoolArray]:
    """The module's forecast [demands] and which demands rise [demands].

    ``seen_bps`` [samples, demands] were measured at ``ages_s`` [samples], seconds that are negative in the past.
    """
    weight = recency_weights(len(ages_s), DECAY)
    centred = ages_s - weight @ ages_s
    spread = float(weight @ centred**2)
    if spread <= 0:
        return last_bps, np.zeros(len(last_bps), dtype=np.bool_)
    level = weight @ seen_bps
    slope = (weight * centred) @ seen_bps / spread
    residual = seen_bps - level - np.outer(centred, slope)
    effective = 1.0 / float(weight @ weight)  # independent samples that the weights are worth
    deviation = np.sqrt(weight @ residual**2 * effective / max(effective - 2.0, 1.0))
    standard_error = deviation / np.sqrt(spread * effective)
    rising = slope > SIGNIFICANCE * standard_error
    ahead = np.maximum(last_bps, level + np.where(rising, slope, 0.0) * (settings.horizon_s - float(weight @ ages_s)))
    largest = np.maximum(seen_bps.max(axis=0), last_bps)
    planned: FloatArray = np.minimum(ahead + settings.margin * deviation, settings.max_growth * largest)
    return np.maximum(planned, last_bps), rising


def forecast_json(
    keys: Sequence[Key], measured_bps: FloatArray, planned_bps: FloatArray | None, settings: ForecastSettings
) -> dict[str, Any] | None:
    """What a decision assumed of the rates to come: the demands that were to rise noticeably; None: all as measured."""
    if planned_bps is None:
        return None
    rising = np.nonzero(planned_bps > measured_bps * (1.0 + settings.noticeable_ratio))[0].tolist()
    return {
        "horizon_s": settings.horizon_s,
        "demands": [
            {
                "source": keys[demand][0],
                "target": keys[demand][1],
                "class": keys[demand][2],
                "measured_bps": float(measured_bps[demand]),
                "planned_bps": float(planned_bps[demand]),
            }
            for demand in rising
        ],
    }
