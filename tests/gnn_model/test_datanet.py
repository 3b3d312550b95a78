"""Datanet directories become scenarios with labels, in every layout, and bad ones are refused in one line."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gnn_model.analytic import AnalyticPredictor
from gnn_model.datanet import find_directories, iterate_samples
from gnn_model.datanet.testbed import read_testbed
from tests.benchmarks import BENCHMARKS
from topology_sync.errors import ScenarioError
from topology_sync.traffic import Arrivals

DATANET = BENCHMARKS / "datanet"
Builder = Callable[..., Path]

NODES = """graph [
  directed 1
  multigraph 1
  node [ id 0 label "0" schedulingPolicy "{policy}" schedulingWeights "{weights}" {buffers} levelsQoS "{levels}"{tos} ]
  node [ id 1 label "1" schedulingPolicy "FIFO" {buffer} levelsQoS 1 ]
  node [ id 2 label "2" schedulingPolicy "FIFO" {buffer} levelsQoS 1 ]
"""
EDGES = ((0, 1, 0, 10000), (1, 0, 0, 10000), (1, 2, 1, 20000), (2, 1, 0, 20000))
NO_FLOW = "-1,0,-1,0,0"
NO_RESULT = "0,0,0" + ",-1" * 8
POISSON = "0,500,0.5,10,0,1000,1"
ONOFF = "4,790,2,5,5,10,3,790,2,500,0.5,1080,0.5,0"
RESULT = "0.51,0.49,0.049,0.3,-1.2,0.05,0.1,0.2,0.4,0.6,0.02"
PORTS = ["-1,0,0,", "0,-1,1,", "0,0,-1,"]
OK = "100;0.001;OK;Mem(KB):1;Time(s):1"


@pytest.fixture
def directory(tmp_path: Path) -> Builder:
    """Builder of a datanet directory with one sample of three nodes in a row, flows 0->1 and 0->2."""

    def build(
        policy: str = "WFQ",
        bits: bool = False,
        routing: list[str] = PORTS,
        flows: tuple[str, str] = (POISSON, ONOFF),
        results: tuple[str, str] = (RESULT, RESULT),
        stability: str = OK,
        usage: str | None = None,
        more: dict[str, str] | None = None,
        names: tuple[str, ...] = ("0", "g.txt", "r.txt"),
        flow_results: str | None = None,
    ) -> Path:
        root = tmp_path / "set"
        for folder in ("graphs", "routings", "links_bw"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        kind = "bufferSizes" if bits else "queueSizes"
        room = "8000" if bits else "32"
        text = NODES.format(
            policy=policy,
            weights="60,30,10" if policy in ("WFQ", "DRR") else "-",
            levels=1 if policy == "FIFO" else 3,
            buffers=f'{kind} "{room if policy == "FIFO" else ",".join([room] * 3)}"',
            buffer=f'{kind} "{room}"',
            tos=' tosToQoSqueue "1;0;2"' if bits and policy != "FIFO" else "",
        )
        for source, target, port, bandwidth in EDGES:
            text += f"  edge [ source {source} target {target} key 0 port {port} weight 1 bandwidth {bandwidth} ]\n"
        (root / "graphs" / "g.txt").write_text(text + "]\n")
        (root / "routings" / "r.txt").write_text("\n".join(routing) + "\n")
        (root / "links_bw" / "b.txt").write_text("0;1;5000\n")
        table = [NO_FLOW, *flows, *[NO_FLOW] * 6]
        numbers = [NO_RESULT, *results, *[NO_RESULT] * 6]
        members = {
            "input_files.txt": ";".join(names),
            "traffic.txt": "1000|" + ";".join(table),
            "simulationResults.txt": "1,0,0.1|" + ";".join(numbers) + ";",
            "stability.txt": stability,
        }
        if usage is not None:
            members["linkUsage.txt"] = usage
        if flow_results is not None:
            members["flowSimulationResults.txt"] = flow_results
        pack(
            root / "results_0_0.tar.gz", {f"results_0_0/{name}": text for name, text in members.items()} | (more or {})
        )
        return root

    return build


def pack(path: Path, members: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text) + 1
            archive.addfile(info, io.BytesIO(text.encode() + b"\n"))


def test_2020_layout(directory: Builder) -> None:
    (sample,) = iterate_samples(directory())
    scenario = sample.scenario
    assert scenario.topology.schedulers[0].discipline == "wfq"
    assert scenario.topology.schedulers[0].weights == (60.0, 30.0, 10.0)
    assert scenario.topology.schedulers[0].variant == "datanet"
    assert [scenario.topology.schedulers[0].queue_of(name) for name in ("tos0", "tos1")] == [0, 1]
    assert scenario.topology.queue_packets.tolist() == [32] * 4
    assert [path[0].links for path in scenario.routing.paths] == [(0,), (0, 2)]
    assert [scenario.traffic.class_name(flow) for flow in (0, 1)] == ["tos1", "tos0"]
    assert scenario.traffic.arrivals == (Arrivals("poisson"), Arrivals("onoff", on_s=5, off_s=5))
    assert scenario.traffic.packet_bits_mean == pytest.approx([510 / 0.49] * 2)
    assert scenario.traffic.rate_bps == pytest.approx([510.0, 510.0])
    assert sample.labels.delay_s.tolist() == [0.3, 0.3]
    assert sample.labels.delay_variance_s2.tolist() == [0.02, 0.02]
    assert sample.labels.loss_ratio == pytest.approx([0.1, 0.1])
    assert sample.labels.quantile_s[0].tolist() == [0.05, 0.1, 0.2, 0.4, 0.6]
    assert sample.labels.measured_bps == pytest.approx([510.0, 510.0])
    assert sample.queues is None
    scenario.routing.check(scenario.topology, scenario.traffic)


def test_offered_rates_are_those_of_the_traffic_file(directory: Builder) -> None:
    (sample,) = iterate_samples(directory(), rate="offered")
    assert sample.scenario.traffic.rate_bps.tolist() == [500.0, 790.0]
    assert sample.scenario.traffic.packet_bits_mean.tolist() == [1000.0, 790.0]


def test_2021_layout_has_node_paths_and_occupancies_in_packets(directory: Builder) -> None:
    usage = ";".join(["-1", "0.5,0.1,900,0.5,0.1,3,9,900", *["-1"] * 7])
    (sample,) = iterate_samples(directory("FIFO", routing=["0;1", "0;1;2"], usage=usage))
    assert [path[0].links for path in sample.scenario.routing.paths] == [(0,), (0, 2)]
    assert sample.queues is not None
    assert sample.queues.wait_s[0].tolist() == pytest.approx([(3 * 900 - 900) / 10000])
    assert np.isnan(sample.queues.wait_s[1:]).all()


def test_2022_layout_has_buffers_in_bits_and_queues_by_service(directory: Builder) -> None:
    usage = ";".join(["-1", "0.5,0.1,900:0.2,0,1500,4000,800:0.3,0.1,2700,8000,900:-1,-1,-1,-1,-1", *["-1"] * 7])
    (sample,) = iterate_samples(directory("DRR", bits=True, usage=usage))
    mean = 510 / 0.49
    assert sample.scenario.topology.queue_packets.tolist() == [round(8000 / mean)] * 4
    assert [sample.scenario.topology.schedulers[0].queue_of(name) for name in ("tos0", "tos1")] == [1, 0]
    assert sample.queues is not None
    assert sample.queues.wait_s[0, :2].tolist() == pytest.approx([700 / 10000, 1800 / 10000])
    assert np.isnan(sample.queues.wait_s[0, 2])


def test_capacities_may_come_from_a_file_of_their_own(directory: Builder) -> None:
    (sample,) = iterate_samples(directory(names=("0", "g.txt", "r.txt", "b.txt")))
    assert sample.scenario.topology.capacity_bps.tolist() == [5000.0, 10000.0, 20000.0, 20000.0]


def test_several_flows_of_a_pair(directory: Builder) -> None:
    numbers = [NO_RESULT, f"{RESULT}:{RESULT.replace('0.3,', '0.7,', 1)}", RESULT, *[NO_RESULT] * 6]
    root = directory(flows=(f"{POISSON}:{POISSON}", ONOFF), flow_results="1,0,0|" + ";".join(numbers))
    (sample,) = iterate_samples(root)
    assert [sample.scenario.traffic.class_name(flow) for flow in range(3)] == ["tos1", "tos1.1", "tos0"]
    assert sample.labels.delay_s.tolist() == [0.3, 0.7, 0.3]
    assert sample.scenario.topology.schedulers[0].queue_of("tos1.1") == 1


def test_masked_labels_are_unknown_and_masked_samples_left_out(directory: Builder) -> None:
    masked = ",".join(["-1"] * 11)
    (sample,) = iterate_samples(directory(results=(RESULT, masked)))
    assert np.isnan(sample.labels.delay_s).tolist() == [False, True]
    assert np.isnan(sample.labels.loss_ratio).tolist() == [False, True]
    assert sample.scenario.traffic.rate_bps[1] == 790.0  # no measurement: as offered
    assert list(iterate_samples(directory(results=(masked, masked)))) == []


def test_simulations_that_did_not_converge_are_left_out(directory: Builder) -> None:
    assert list(iterate_samples(directory(stability="100;0.5;KO;Mem(KB):1"))) == []


def test_names_in_tarballs_cannot_leave_their_folder(directory: Builder, tmp_path: Path) -> None:
    before = sorted(tmp_path.parent.rglob("*"))
    root = directory(more={"../../evil.txt": "x", "/etc/evil.txt": "x"})
    assert len(list(iterate_samples(root))) == 1
    assert not [path for path in tmp_path.parent.rglob("evil*") if path not in before]
    with pytest.raises(ScenarioError, match="no file name"):
        list(iterate_samples(directory(names=("0", "../g.txt", "r.txt"))))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"policy": "RED"}, "scheduling policy"),
        ({"routing": ["-1,0,", "0,-1,"]}, "matrix of output ports"),
        ({"routing": ["-1,0,0,", "0,-1,0,", "0,0,-1,"]}, "does not lead from 0 to 2"),
        ({"routing": ["0;2"]}, "loop-free path"),
        ({"flows": ("5,1,2,3", ONOFF)}, "PPBP"),
        ({"flows": ("0,x", ONOFF)}, "is no flow"),
        ({"results": ("1,2", RESULT)}, "has no 11 numbers"),
        ({"names": ("0",)}, "names no graph"),
        ({"names": ("0", "absent.txt", "r.txt")}, "no readable GML"),
        ({"flows": (f"{POISSON}:{POISSON}", ONOFF)}, "flowSimulationResults"),
    ],
)
def test_bad_directories_are_refused_in_one_line(directory: Builder, arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ScenarioError, match=text) as caught:
        list(iterate_samples(directory(**arguments)))
    assert "\n" not in str(caught.value)


def test_damaged_tarballs_are_refused(directory: Builder) -> None:
    root = directory()
    tarball = root / "results_0_0.tar.gz"
    tarball.write_bytes(tarball.read_bytes()[:200])
    with pytest.raises(ScenarioError, match="no readable tar archive"):
        list(iterate_samples(root))
    pack(tarball, {"x/input_files.txt": "0;g.txt;r.txt", "x/traffic.txt": "a\nb", "x/simulationResults.txt": "a"})
    with pytest.raises(ScenarioError, match="2 lines for 1 samples"):
        list(iterate_samples(root))


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="holds no datanet directory"):
        find_directories(tmp_path)
    with pytest.raises(ScenarioError, match="no directory"):
        find_directories(tmp_path / "absent")


def test_2023_files(tmp_path: Path) -> None:
    arrays = {
        "sample_flow_ptr": [0, 1, 2],
        "sample_link_ptr": [0, 2, 3],
        "flow_path_ptr": [0, 2, 3],
        "path_links": [0, 1, 0],
        "link_capacity_gbps": [1.0, 10.0, 80.0],
        "fold": [0, 3],
        "traffic_bps": [1e6, 2e6],
        "packets_per_s": [100.0, 200.0],
        "packet_size_bits": [8000.0, 8000.0],
        "is_cbr": [1, 0],
        "is_mb": [0, 1],
        "delay_ms": [2.0, 4.0],
    }
    path = tmp_path / "set.npz"
    np.savez(path, **{name: np.array(value) for name, value in arrays.items()})
    first, second = read_testbed(path)
    assert (first.fold, second.fold) == (0, 3)
    assert first.path_links.tolist() == [0, 1]
    assert second.capacity_bps.tolist() == [80e9]
    assert first.delay_s.tolist() == [0.002]
    assert (first.is_constant.tolist(), second.is_constant.tolist()) == ([True], [False])
    np.savez(path, **{name: np.array(value) for name, value in arrays.items() if name != "fold"})
    with pytest.raises(ScenarioError, match="no readable 2023 set"):
        list(read_testbed(path))
    np.savez(path, **{name: np.array(value) for name, value in (arrays | {"path_links": [0, 2, 0]}).items()})
    with pytest.raises(ScenarioError, match="link that is not there"):
        list(read_testbed(path))


@pytest.mark.skipif(not DATANET.is_dir(), reason="benchmark data are not here")
@pytest.mark.parametrize(
    ("folder", "most"), [("2021_train", 0.019), ("2021_validation", 0.019), ("2022_validation/50", 0.2)]
)
def test_the_analytic_predictor_is_as_good_as_known_on_real_data(folder: str, most: float) -> None:
    sample = next(iterate_samples(DATANET / folder))
    predicted = AnalyticPredictor().predict(sample.scenario).delay_s
    error = np.abs(predicted - sample.labels.delay_s) / sample.labels.delay_s
    assert np.nanmean(error) < most


@pytest.mark.skipif(not DATANET.is_dir(), reason="benchmark data are not here")
def test_queue_labels_rebuild_the_delays_of_real_data() -> None:
    """delay = sum over links of the queue's wait + own size / capacity: 0.4 to 0.9 per cent off."""
    for folder in ("2021_train", "2022_validation/50"):
        sample = next(iterate_samples(DATANET / folder))
        scenario = sample.scenario
        assert sample.queues is not None
        rebuilt = np.zeros(scenario.traffic.demand_count)
        for demand, (path,) in enumerate(scenario.routing.paths):
            for link in path.links:
                scheduler = scenario.topology.schedulers[scenario.topology.link_source[link]]
                rebuilt[demand] += sample.queues.wait_s[link, scheduler.queue_of(scenario.traffic.class_name(demand))]
                rebuilt[demand] += scenario.traffic.packet_bits_mean[demand] / scenario.topology.capacity_bps[link]
        error = np.abs(rebuilt - sample.labels.delay_s) / sample.labels.delay_s
        assert np.nanmean(error) < 0.012


@pytest.mark.skipif(not DATANET.is_dir(), reason="benchmark data are not here")
def test_real_2023_data_have_the_published_size() -> None:
    samples = list(read_testbed(DATANET / "2023_testbed" / "mb.npz"))
    assert len(samples) == 3512
    assert sum(len(sample.delay_s) for sample in samples) == 136564
