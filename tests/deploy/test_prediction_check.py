"""What is said of a kept run: figures of known numbers, and one line where directory and report do not fit."""

from __future__ import annotations

import json
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from deploy.cli import run
from deploy.testbed.prediction_check import _errors


def test_a_constant_that_is_missing_is_found() -> None:
    predicted_s = np.array([1e-3, 2e-3, 4e-3])
    found = _errors(predicted_s, predicted_s + 5e-4)
    assert found["delay_offset_s"] == pytest.approx(5e-4)
    assert found["delay_median_relative_error"] == pytest.approx(0.2)
    assert found["delay_median_relative_error_without_offset"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"topology": "x"}, "is no report of the testbed"),
        ({"predicted_vs_measured": {}, "decisions": []}, "--report: the run changed no routing"),
        ({"predicted_vs_measured": {}, "decisions": [{"id": 1}]}, "routewright.yaml"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, report: object, expected: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report))
    with redirect_stderr(StringIO()) as said:
        assert run(["bench", "predicted", str(tmp_path), "--report", str(file)]) == 2
    assert expected in said.getvalue()
    assert said.getvalue().count("\n") == 1
