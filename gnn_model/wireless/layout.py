"""One layout as a user has it: links by name, with measured gains or positions; its JSON form.

    {"format": "routewright-layout/1", "name": "yard", "power_dbm": 40, "noise_dbm": -102,
     "links": [{"id": "a", "transmitter": [10, 20], "receiver": [30, 25], "weight": 1, "min_rate_bit_s_hz": 0.5}, ...],
     "gains_db": [[-71.2, -104.0], [null, -80.5]]}

``gains_db``: row = receiver, column = transmitter.  A gain that was not measured is null, or all are left out; then the
positions (metres) say what it would be by path loss alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gnn_model.wireless.channel import Setting
from topology_sync.errors import InputError
from topology_sync.strict_json import JsonObject, check_format, check_number, in_file, read_json, shown
from topology_sync.values import ArrayValue, BoolArray, FloatArray, bool_array, float_array

FORMAT = "routewright-layout/1"
MAX_LINKS = 5000
MAX_METRES = 1e7
MAX_DB = 400.0
MAX_RATE = 100.0
MAX_OVER_NOISE_DB = 150.0
"""Full power without any loss is 142 dB over the noise in the setting of the paper."""


@dataclass(frozen=True, eq=False)
class Layout(ArrayValue):
    """Links that share a channel.

    ``gains`` [links, links] over the noise at full power, row = receiver; ``measured`` [links, links] says which of
    them were measured, the others follow from distances.  ``weights`` and ``minimum_rates`` (bit/s/Hz) [links].
    """

    name: str
    links: tuple[str, ...]
    gains: FloatArray
    measured: BoolArray
    weights: FloatArray
    minimum_rates: FloatArray
    power_dbm: float
    noise_dbm: float

    @property
    def distances_only(self) -> bool:
        """Was not a single gain measured?"""
        return not self.measured.any()


def read_layout(path: Path) -> Layout:
    """A layout from its file (.json, .json.gz, .json.xz).  Raises InputError that names the place in it."""
    data = read_json(path, InputError)
    try:
        return layout_from_json(data)
    except InputError as problem:
        raise in_file(problem, path) from None


def layout_from_json(data: object) -> Layout:
    """A layout from its JSON form."""
    check_format(data, FORMAT, InputError)
    whole = JsonObject(data, "", ("format", "name", "power_dbm", "noise_dbm", "links", "gains_db"), InputError)
    setting = Setting()
    noise_default = setting.noise_dbm_per_hz + 10.0 * math.log10(setting.bandwidth_hz)
    power_dbm = whole.number("power_dbm", -MAX_DB, MAX_DB, setting.power_dbm)
    noise_dbm = whole.number("noise_dbm", -MAX_DB, MAX_DB, noise_default)
    known = ("id", "transmitter", "receiver", "weight", "min_rate_bit_s_hz")
    links = whole.children("links", known)
    if not 1 <= len(links) <= MAX_LINKS:
        whole.fail("links", f"has {len(links)} entries", f"give 1 to {MAX_LINKS}")
    names = tuple(link.text("id", str(index)) for index, link in enumerate(links))
    for index, name in enumerate(names):
        if name in names[:index]:
            links[index].fail("id", f"{shown(name)} is given twice", "name every link once")
    gains_db = _gains_db(whole, len(links))
    measured = np.isfinite(gains_db)
    if not measured.all():
        computed = 10.0 * np.log10(_path_gains(setting, links))
        gains_db = np.where(measured, gains_db, computed)
    over_noise_db = gains_db + power_dbm - noise_dbm
    check_over_noise(over_noise_db, "gains_db")
    return Layout(
        name=whole.text("name", "layout"),
        links=names,
        gains=float_array(10.0 ** (over_noise_db / 10.0)),
        measured=bool_array(measured),
        weights=float_array([link.number("weight", 0.0, 1e6, 1.0) for link in links]),
        minimum_rates=float_array([link.number("min_rate_bit_s_hz", 0.0, MAX_RATE, 0.0) for link in links]),
        power_dbm=power_dbm,
        noise_dbm=noise_dbm,
    )


def layout_to_json(layout: Layout) -> dict[str, Any]:
    """The JSON form with all gains."""
    gains_db = 10.0 * np.log10(np.maximum(layout.gains, 1e-40)) - layout.power_dbm + layout.noise_dbm
    links = [
        {"id": name, "weight": weight, "min_rate_bit_s_hz": rate}
        for name, weight, rate in zip(layout.links, layout.weights.tolist(), layout.minimum_rates.tolist(), strict=True)
    ]
    head = {"format": FORMAT, "name": layout.name, "power_dbm": layout.power_dbm, "noise_dbm": layout.noise_dbm}
    return {**head, "links": links, "gains_db": np.round(gains_db, 3).tolist()}


def _gains_db(whole: JsonObject, links: int) -> FloatArray:
    """Gains [links, links], NaN where none is given."""
    if not whole.has("gains_db"):
        return np.full((links, links), np.nan)
    return gains_matrix(whole.items("gains_db"), links, whole.place_of("gains_db"))


def gains_matrix(rows: list[Any], links: int, place: str) -> FloatArray:
    """A square list of lists of decibels or null as an array with NaN."""
    if len(rows) != links:
        raise InputError(place, f"has {len(rows)} rows", f"give one for each of the {links} links")
    gains_db = np.full((links, links), np.nan)
    for receiver, row in enumerate(rows):
        here = f"{place}[{receiver}]"
        if not isinstance(row, list) or len(row) != links:
            raise InputError(here, f"is {shown(row)}", f"give a list of {links} numbers or nulls")
        for sender, value in enumerate(row):
            if value is not None:
                gain = check_number(value, f"{here}[{sender}]", -MAX_DB, MAX_DB, False, InputError)
                gains_db[receiver, sender] = gain
    return gains_db


def check_over_noise(over_noise_db: FloatArray, place: str) -> None:
    """Raise InputError where a signal would be stronger than any real one; NaN passes."""
    if (over_noise_db > MAX_OVER_NOISE_DB).any():
        receiver, sender = np.argwhere(over_noise_db > MAX_OVER_NOISE_DB)[0]
        problem = f"is {over_noise_db[receiver, sender]:.0f} dB over the noise at full power"
        raise InputError(f"{place}[{receiver}][{sender}]", problem, f"give at most {MAX_OVER_NOISE_DB:.0f} dB")


def _path_gains(setting: Setting, links: list[JsonObject]) -> FloatArray:
    """Path gain [receiver, transmitter] from the positions, with the direct antenna gain."""
    ends = {end: np.array([_position(link, end) for link in links]) for end in ("transmitter", "receiver")}
    away = ends["receiver"][:, None, :] - ends["transmitter"][None, :, :]
    distance_m = np.maximum(np.sqrt((away**2).sum(-1)), setting.min_distance_m)
    gains = setting.path_gain(distance_m)
    gains[range(len(links)), range(len(links))] *= 10.0 ** (setting.direct_antenna_gain_db / 10.0)
    return gains


def _position(link: JsonObject, end: str) -> tuple[float, ...]:
    if not link.has(end):
        link.fail(end, "is missing", "give [x, y] in metres, or measure every gain")
    position = link.numbers(end, -MAX_METRES, MAX_METRES)
    if len(position) != 2:
        link.fail(end, f"has {len(position)} numbers", "give [x, y] in metres")
    return position
