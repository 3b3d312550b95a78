"""Random layouts of transmitter-receiver pairs and their channel gains: the setting of the WCGCN paper.

Shen, Shi, Zhang, Letaief: Graph Neural Networks for Scalable Radio Resource Management (IEEE JSAC 39(1), 2021), with
the path loss of ITU-R P.1411 in line of sight, log-normal shadowing and Rayleigh fading.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from topology_sync.errors import InputError
from topology_sync.values import BoolArray, FloatArray

LIGHT_SPEED_M_S = 2.998e8
MAX_REDRAWS = 10_000

Fading = Literal["rayleigh", "rician", "none"]
FADINGS: tuple[Fading, ...] = ("rayleigh", "rician", "none")
RICIAN_FACTOR = 4.0


@dataclass(frozen=True)
class Setting:
    """Where the links stand and how their signals travel.

    ``links_per_km2`` fixes the side of the square field for any number of links, so the density does not change with
    the size.  ``shadowing_db`` is the standard deviation of the log-normal shadowing of every channel on its own.
    """

    links_per_km2: float = 50.0
    min_link_m: float = 2.0
    max_link_m: float = 65.0
    min_distance_m: float = 1.0
    frequency_hz: float = 2.4e9
    bandwidth_hz: float = 5e6
    antenna_height_m: float = 1.5
    direct_antenna_gain_db: float = 2.5
    power_dbm: float = 40.0
    noise_dbm_per_hz: float = -169.0
    shadowing_db: float = 8.0
    fading: Fading = "rayleigh"

    def __post_init__(self) -> None:
        positive = {
            "links_per_km2": self.links_per_km2,
            "max_link_m": self.max_link_m,
            "min_distance_m": self.min_distance_m,
            "frequency_hz": self.frequency_hz,
            "bandwidth_hz": self.bandwidth_hz,
            "antenna_height_m": self.antenna_height_m,
        }
        for name, value in positive.items():
            if not (math.isfinite(value) and value > 0.0):
                raise InputError(name, f"is {value}", "give a number above 0")
        if not 0.0 <= self.min_link_m <= self.max_link_m:
            raise InputError("min_link_m", f"is {self.min_link_m}", f"give 0 to {self.max_link_m} (max_link_m)")
        if self.max_link_m <= self.min_distance_m:
            raise InputError("max_link_m", f"is {self.max_link_m}", "give more than min_distance_m")
        if self.shadowing_db < 0.0:
            raise InputError("shadowing_db", f"is {self.shadowing_db}", "give 0 or more")
        if self.fading not in FADINGS:
            raise InputError("fading", f"is {self.fading!r}", f"give one of {', '.join(FADINGS)}")

    def field_m(self, links: int) -> float:
        """Side of the square field for this many links."""
        return math.sqrt(1e6 * links / self.links_per_km2)

    @property
    def noise_to_power(self) -> float:
        """Noise power over the full transmit power, both at the antenna."""
        noise_w = 10.0 ** ((self.noise_dbm_per_hz - 30.0) / 10.0) * self.bandwidth_hz
        return float(noise_w / 10.0 ** ((self.power_dbm - 30.0) / 10.0))

    def path_gain(self, distance_m: FloatArray) -> FloatArray:
        """Linear power gain at a distance, antenna gain of the direct link not included (ITU-R P.1411, median)."""
        wavelength_m = LIGHT_SPEED_M_S / self.frequency_hz
        height2 = self.antenna_height_m**2
        breakpoint_m = 4.0 * height2 / wavelength_m
        at_breakpoint_db = abs(20.0 * math.log10(wavelength_m**2 / (8.0 * math.pi * height2)))
        steps_db = 20.0 * np.log10(distance_m / breakpoint_m)
        loss_db = at_breakpoint_db + 6.0 + steps_db + np.maximum(steps_db, 0.0)
        return np.asarray(10.0 ** (-loss_db / 10.0))


@dataclass(frozen=True)
class Channels:
    """A batch of layouts.

    ``gains`` [layouts, links, links]: received power over noise power when everyone sends at full power; row =
    receiver, column = transmitter.  ``median_gains``: the same from the distances alone, without shadowing and fading.
    ``distance_m`` [layouts, receiver, transmitter].
    """

    gains: FloatArray
    median_gains: FloatArray
    distance_m: FloatArray


def generate(setting: Setting, links: int, layouts: int, seed: int | np.random.Generator) -> Channels:
    """Draw ``layouts`` layouts of ``links`` links; the same seed gives the same layouts."""
    if links < 1 or layouts < 1:
        raise InputError("links" if links < 1 else "layouts", "is below 1", "give 1 or more")
    random = np.random.default_rng(seed)
    distance_m = _distances(setting, links, layouts, random)
    return channels_at(setting, distance_m, random)


def channels_at(setting: Setting, distance_m: FloatArray, random: np.random.Generator) -> Channels:
    """Draw shadowing and fading for given distances [..., receiver, transmitter]."""
    median = setting.path_gain(distance_m) / setting.noise_to_power
    links = distance_m.shape[-1]
    diagonal = np.arange(links)
    median[..., diagonal, diagonal] *= 10.0 ** (setting.direct_antenna_gain_db / 10.0)
    gains = median * 10.0 ** (setting.shadowing_db * random.standard_normal(median.shape) / 10.0)
    gains *= _fading(setting.fading, median.shape, random)
    return Channels(gains, median, distance_m)


def _fading(kind: Fading, shape: tuple[int, ...], random: np.random.Generator) -> FloatArray:
    """Power of the fading with mean 1; the Rician line of sight carries ``RICIAN_FACTOR`` times the scattered power."""
    if kind == "none":
        return np.ones(shape)
    real, imaginary = random.standard_normal(shape), random.standard_normal(shape)
    if kind == "rician":
        real += math.sqrt(2.0 * RICIAN_FACTOR)
        return np.asarray((real**2 + imaginary**2) / (2.0 * (1.0 + RICIAN_FACTOR)))
    return np.asarray((real**2 + imaginary**2) / 2.0)


def _distances(setting: Setting, links: int, layouts: int, random: np.random.Generator) -> FloatArray:
    side_m = setting.field_m(links)
    distance_m = np.empty((layouts, links, links))
    open_layouts = np.arange(layouts)
    for _ in range(MAX_REDRAWS):
        drawn = _draw_distances(setting, side_m, links, len(open_layouts), random)
        distance_m[open_layouts] = drawn
        open_layouts = open_layouts[drawn.min(axis=(1, 2)) <= setting.min_distance_m]
        if not len(open_layouts):
            return distance_m
    raise InputError("links_per_km2", "leaves no layout with all distances allowed", "give a lower density")


def _draw_distances(
    setting: Setting, side_m: float, links: int, layouts: int, random: np.random.Generator
) -> FloatArray:
    sender = random.uniform(0.0, side_m, (layouts, links, 2))
    receiver = np.empty_like(sender)
    outside: BoolArray = np.ones((layouts, links), dtype=bool)
    for _ in range(MAX_REDRAWS):
        count = int(outside.sum())
        if count == 0:
            break
        length = random.uniform(setting.min_link_m, setting.max_link_m, count)
        angle = random.uniform(0.0, 2.0 * math.pi, count)
        receiver[outside] = sender[outside] + np.stack((length * np.cos(angle), length * np.sin(angle)), axis=-1)
        outside = np.asarray(((receiver < 0.0) | (receiver > side_m)).any(axis=-1))
    else:
        raise InputError("max_link_m", "does not fit into the field", "give shorter links or a lower density")
    away = receiver[:, :, None, :] - sender[:, None, :, :]
    return np.asarray(np.sqrt((away**2).sum(axis=-1)))
