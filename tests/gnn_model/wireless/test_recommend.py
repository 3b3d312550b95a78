"""Recommendations: whatever the layout, powers that can be set; and rates as promised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnn_model.wireless.layout import Layout, layout_from_json
from gnn_model.wireless.rates import link_rates, sum_rate
from gnn_model.wireless.recommend import Method, recommend, recommendation_to_json


def layout_of(gains_db: list[list[float]], weights: list[float], minimum: list[float]) -> Layout:
    links = [{"weight": weight, "min_rate_bit_s_hz": rate} for weight, rate in zip(weights, minimum, strict=True)]
    data = {"format": "routewright-layout/1", "power_dbm": 40, "noise_dbm": -102, "links": links, "gains_db": gains_db}
    return layout_from_json(data)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 6), st.sampled_from(list(Method)))
def test_any_layout_gets_powers_between_nothing_and_full(data: st.DataObject, links: int, method: Method) -> None:
    gain = st.one_of(st.floats(-400.0, 8.0), st.sampled_from([-400.0, -100.0, 8.0]))
    row = st.lists(gain, min_size=links, max_size=links)
    gains_db = data.draw(st.lists(row, min_size=links, max_size=links))
    weights = data.draw(st.lists(st.sampled_from([0.0, 1e-6, 1.0, 1e6]), min_size=links, max_size=links))
    minimum = data.draw(st.lists(st.sampled_from([0.0, 0.0, 0.5, 100.0]), min_size=links, max_size=links))
    layout = layout_of(gains_db, weights, minimum)
    found = recommend(layout, method, at_once=True)
    assert np.isfinite(found.powers).all()
    assert (found.powers >= 0.0).all()
    assert (found.powers <= 1.0).all()
    np.testing.assert_allclose(found.rates, link_rates(layout.gains, found.powers))
    np.testing.assert_allclose(found.violation, np.maximum(layout.minimum_rates - found.rates, 0.0), atol=2e-6)
    if found.possible:
        assert not found.violation.any()
    assert len(recommendation_to_json(layout, found)["links"]) == links


@pytest.mark.parametrize("method", list(Method))
def test_one_link_gets_full_power_and_its_whole_rate(method: Method) -> None:
    found = recommend(layout_of([[-100.0]], [3.0], [0.0]), method)
    assert found.powers == pytest.approx([1.0])
    assert found.rates == pytest.approx([np.log2(1.0 + 10.0**4.2)])


def test_the_hybrid_is_worth_at_least_wcgcn_alone_on_the_layouts_it_is_made_for() -> None:
    random = np.random.default_rng(8)
    worth = dict.fromkeys(Method, 0.0)
    for _ in range(5):
        gains_db = random.uniform(-130.0, -90.0, (30, 30))
        gains_db[range(30), range(30)] = random.uniform(-90.0, -60.0, 30)
        layout = layout_of(gains_db.tolist(), [1.0] * 30, [0.0] * 30)
        for method in Method:
            worth[method] += float(sum_rate(layout.gains, recommend(layout, method, at_once=True).powers))
    assert worth[Method.HYBRID] > worth[Method.WCGCN]
    assert worth[Method.HYBRID] > 0.98 * worth[Method.WMMSE]
