"""How far predictions are from labels: the figures of ``routewright evaluate``, pooled over all flows.

Jitter below a hundredth of the mean delay is left out: there it is the chance of single packets, and a relative error
says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gnn_model.datanet.samples import DatanetSample
from gnn_model.dataset.information import NOISE
from gnn_model.predictor import Prediction, Predictor
from topology_sync.scenario import Scenario
from topology_sync.values import FloatArray, float_array

if TYPE_CHECKING:
    from gnn_model.dataset.shards import StoredSample


@dataclass(frozen=True)
class LabelledScenario:
    """A scenario and what its flows experienced, [demands]; NaN where it is not known.

    ``rse``: relative standard error of ``delay_s``, None where the labels do not come with it.
    """

    scenario: Scenario
    delay_s: FloatArray
    delay_p99_s: FloatArray
    jitter_s: FloatArray
    loss_ratio: FloatArray
    rse: FloatArray | None = None

    @classmethod
    def of_simulated(cls, sample: StoredSample) -> LabelledScenario:
        """A sample of our own; demands with too few delivered packets have no labels."""
        from gnn_model.training.labelled import known_labels

        labels = known_labels(sample.labels)
        return cls(
            sample.scenario,
            float_array(labels.delay_s),
            float_array(labels.delay_p99_s),
            float_array(labels.jitter_s),
            float_array(labels.loss_ratio),
            float_array(np.where(np.isfinite(labels.delay_s), labels.rse, np.nan)),
        )

    @classmethod
    def of_datanet(cls, sample: DatanetSample) -> LabelledScenario:
        """A datanet sample: its files hold neither the 99th percentile nor RFC 3393 jitter."""
        unknown = np.full(len(sample.labels.delay_s), np.nan)
        return cls(sample.scenario, sample.labels.delay_s, unknown, unknown, sample.labels.loss_ratio)

    @classmethod
    def of_prediction(cls, scenario: Scenario, truth: Prediction) -> LabelledScenario:
        """A scenario whose labels were simulated."""
        return cls(scenario, truth.delay_s, truth.delay_p99_s, truth.jitter_s, truth.loss_ratio)


LEAST_JITTER = 0.01  # of the mean delay


class _Tally:
    """Errors of one predictor, flow by flow."""

    def __init__(self) -> None:
        self.relative: dict[str, list[FloatArray]] = {"delay_s": [], "delay_p99_s": [], "jitter_s": []}
        self.loss: list[FloatArray] = []
        self.seconds = 0.0

    def add(self, labelled: LabelledScenario, predictor: Predictor) -> None:
        started = time.perf_counter()
        predicted = predictor.predict(labelled.scenario)
        self.seconds += time.perf_counter() - started
        for name, errors in self.relative.items():
            label = getattr(labelled, name)
            known = label > (LEAST_JITTER * labelled.delay_s if name == "jitter_s" else 0.0)
            errors.append(np.abs(getattr(predicted, name)[known] - label[known]) / label[known])
        known = np.isfinite(labelled.loss_ratio)
        self.loss.append(np.abs(predicted.loss_ratio[known] - labelled.loss_ratio[known]))

    def figures(self) -> dict[str, float | None]:
        delay, p99, jitter, loss = (
            np.concatenate([*parts, np.zeros(0)]) for parts in (*self.relative.values(), self.loss)
        )
        figures = {
            "delay_mape": _mean(100 * delay),
            "delay_median_ape": 100 * float(np.median(delay)) if len(delay) else None,
            "jitter_mape": _mean(100 * jitter),
            "loss_mae": _mean(loss),
        }
        return figures | ({"p99_mape": _mean(100 * p99)} if len(p99) else {})


def evaluate(samples: Iterable[LabelledScenario], predictor: Predictor, baseline: Predictor) -> dict[str, Any]:
    """Figures of ``predictor`` and, beside it, of ``baseline``.

    ``..._mape`` and ``..._ape`` are per cent, means or the median over all flows pooled; ``loss_mae`` is a mean
    absolute difference of loss ratios; null where no label is known.  ``p99_mape`` is there where such labels are,
    ``noise_floor`` (per cent) where the labels' own error is known: what a perfect prediction of the mean delay would
    be judged with, 0.798 times their mean relative standard error.
    """
    chosen, other = _Tally(), _Tally()
    count = 0
    errors: list[FloatArray] = []
    for labelled in samples:
        count += 1
        if labelled.rse is not None:
            errors.append(labelled.rse[np.isfinite(labelled.rse)])
        chosen.add(labelled, predictor)
        other.add(labelled, baseline)
    return {
        "samples": count,
        "flows": sum(len(part) for part in chosen.relative["delay_s"]),
        **chosen.figures(),
        **({"noise_floor": 100 * NOISE * float(np.concatenate(errors).mean())} if errors else {}),
        "baseline": other.figures(),
        "seconds_per_sample": chosen.seconds / count if count else None,
    }


def _mean(errors: FloatArray) -> float | None:
    return float(errors.mean()) if len(errors) else None
