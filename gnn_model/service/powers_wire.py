"""Layouts of wireless links and recommended powers on the wire: the values, so both ends compute the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gnn_model.service.limits import ServiceLimits
from gnn_model.service.v1 import predictor_pb2 as pb
from gnn_model.wireless.layout import MAX_OVER_NOISE_DB, MAX_RATE, Layout
from gnn_model.wireless.recommend import Method, Recommendation
from topology_sync.errors import InputError, UnavailableError
from topology_sync.strict_json import check_name, shown
from topology_sync.values import FloatArray, bool_array, float_array

MOST_GAIN = 10.0 ** (MAX_OVER_NOISE_DB / 10.0)
MAX_WEIGHT = 1e6


def layout_message(layout: Layout) -> pb.Layout:
    """The message of a layout; what says nothing is left out."""
    return pb.Layout(
        name=layout.name,
        links=layout.links,
        gains=layout.gains.ravel().tolist(),
        measured=[] if layout.measured.all() else layout.measured.ravel().tolist(),
        weights=[] if (layout.weights == 1.0).all() else layout.weights.tolist(),
        minimum_rates=[] if not layout.minimum_rates.any() else layout.minimum_rates.tolist(),
    )


def read_layouts(messages: Sequence[pb.Layout], limits: ServiceLimits) -> tuple[Layout, ...]:
    """The layouts in a request.  Raises InputError: one line naming the place in the message."""
    if not 1 <= len(messages) <= limits.layouts:
        raise InputError("layouts", f"has {len(messages)} entries", f"send 1 to {limits.layouts}")
    return tuple(_layout(message, f"layouts[{number}]", limits) for number, message in enumerate(messages))


def read_method(name: str) -> Method:
    """The method asked for, the hybrid where none is.  Raises InputError."""
    if name and name not in tuple(Method):
        raise InputError("method", f"is {shown(name)}", f"send one of {', '.join(Method)}")
    return Method(name) if name else Method.HYBRID


def powers_message(found: Recommendation) -> pb.Powers:
    """The message of a recommendation."""
    return pb.Powers(
        powers=found.powers.tolist(),
        rates=found.rates.tolist(),
        violation=found.violation.tolist(),
        possible=found.possible,
        method=found.method.value,
        seconds=found.seconds,
    )


def read_powers(message: pb.Powers, layout: Layout) -> Recommendation:
    """The recommendation in a message.  Raises UnavailableError where it does not fit the layout."""
    sizes = {len(message.powers), len(message.rates), len(message.violation)}
    if sizes != {len(layout.links)} or message.method not in tuple(Method):
        raise UnavailableError("the predictor's answer does not fit the layout that was sent")
    return Recommendation(
        powers=float_array(message.powers),
        rates=float_array(message.rates),
        violation=float_array(message.violation),
        possible=message.possible,
        method=Method(message.method),
        seconds=message.seconds,
    )


def _layout(message: pb.Layout, place: str, limits: ServiceLimits) -> Layout:
    links = tuple(check_name(name, f"{place}.links[{number}]", InputError) for number, name in enumerate(message.links))
    count = len(links)
    if not 1 <= count <= limits.layout_links:
        raise InputError(f"{place}.links", f"has {count} entries", f"send 1 to {limits.layout_links}")
    if len(set(links)) < count:
        raise InputError(f"{place}.links", "names a link twice", "name every link once")
    gains = _numbers(message.gains, f"{place}.gains", count * count, MOST_GAIN)
    if len(message.measured) not in (0, count * count):
        raise InputError(
            f"{place}.measured", f"has {len(message.measured)} entries", f"send none or {count * count}, like gains"
        )
    return Layout(
        name=check_name(message.name or "layout", f"{place}.name", InputError),
        links=links,
        gains=float_array(gains.reshape(count, count)),
        measured=bool_array(np.array(message.measured or [True] * count**2, dtype=np.bool_).reshape(count, count)),
        weights=float_array(_numbers(message.weights, f"{place}.weights", count, MAX_WEIGHT, 1.0)),
        minimum_rates=float_array(_numbers(message.minimum_rates, f"{place}.minimum_rates", count, MAX_RATE, 0.0)),
        power_dbm=0.0,
        noise_dbm=0.0,
    )


def _numbers(values: Sequence[float], place: str, count: int, most: float, default: float | None = None) -> FloatArray:
    """Numbers from 0 to ``most``, ``count`` of them, or all ``default`` where none were sent."""
    if default is not None and not len(values):
        return np.full(count, default)
    if len(values) != count:
        raise InputError(place, f"has {len(values)} entries", f"send {count}")
    array = np.array(values, dtype=np.float64)
    wrong = ~((array >= 0) & (array <= most * (1 + 1e-9)))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(f"{place}[{first}]", f"is {array[first]:g}", f"send a number from 0 to {most:g}")
    return array
