"""docs/scenarios.md shows a scenario that is read, with the defaults that it states."""

import json
from dataclasses import fields
from pathlib import Path

from topology_sync.scenario_json import scenario_from_json
from topology_sync.source_options import SourceOptions, parse_options
from topology_sync.traffic import ARRIVAL_MODELS, SIZE_MODELS, Arrivals

PAGE = (Path(__file__).parents[2] / "docs/scenarios.md").read_text()


def test_the_example_is_read_with_the_defaults_of_the_page() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("    ")]
    scenario = scenario_from_json(json.loads("\n".join(lines)))
    topology, traffic = scenario.topology, scenario.traffic
    assert topology.schedulers[1].discipline == "fifo"
    assert (topology.delay_s[1], topology.queue_packets[1]) == (0, 32)
    assert traffic.packet_bits_mean[1] == 8000
    assert traffic.packet_size[1].model == "exponential"
    assert traffic.arrivals[0] == Arrivals("poisson", on_s=5, off_s=5, correlation=0.9, sigma=0.5)
    assert len(scenario.routing.paths[0]) == 1  # fewest hops
    assert scenario.sla[0].percentile == 99
    del lines[-1]
    assert scenario_from_json(json.loads("\n".join(lines).rstrip().removesuffix(",") + "}")).sla == ()


def test_the_page_names_every_option_and_model() -> None:
    for word in (*(field.name for field in fields(SourceOptions)), *ARRIVAL_MODELS, *SIZE_MODELS[:-1]):
        assert f"`{word}`" in PAGE
    options = parse_options("capacity_mbps=10&max_utilisation=0.7")
    assert (options.capacity_mbps, options.max_utilisation) == (10, 0.7)
    assert SourceOptions() == SourceOptions(capacity_mbps=1000, queue_packets=32, packet_bits=8000)
