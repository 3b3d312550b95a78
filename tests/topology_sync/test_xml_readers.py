"""GraphML and SNDlib files: what becomes of edges, labels, capacities and demands; XML without entities."""

from pathlib import Path

import pytest

from topology_sync.errors import ScenarioError
from topology_sync.sources import load_scenario

GRAPHML = """<?xml version="1.0" encoding="utf-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key attr.name="LinkSpeedRaw" attr.type="double" for="edge" id="d36" />
  <key attr.name="label" attr.type="string" for="node" id="d32" />
  <key attr.name="hyperedge" attr.type="int" for="node" id="d33" />
  <graph edgedefault="undirected">
    <node id="0"><data key="d32">Paris</data></node>
    <node id="1"><data key="d32">Lyon</data></node>
    <node id="2"><data key="d32">Paris</data><data key="d33">1</data></node>
    <node id="3"><data key="d32">Island</data></node>
    <edge source="0" target="1"><data key="d36">2500000000.0</data></edge>
    <edge source="0" target="1"><data key="d36">1000000.0</data></edge>
    <edge source="1" target="2" />
    <edge source="2" target="2" />
    <edge source="2" target="0" directed="true" />
  </graph>
</graphml>
"""
SNDLIB = """<?xml version="1.0" encoding="ISO-8859-1"?>
<network xmlns="http://sndlib.zib.de/network" version="1.0">
 <meta><granularity>1year</granularity><unit>MBITPERSEC</unit></meta>
 <networkStructure>
  <nodes coordinatesType="geographical">
   <node id="A"><coordinates><x>1.0</x><y>2.0</y></coordinates></node><node id="B"/><node id="C"/>
  </nodes>
  <links>
   <link id="L1"><source>A</source><target>B</target>
    <preInstalledModule><capacity>40.0</capacity><cost>0.0</cost></preInstalledModule></link>
   <link id="L2"><source>B</source><target>C</target>
    <preInstalledModule><capacity>0.0</capacity></preInstalledModule>
    <additionalModules><addModule><capacity>155.0</capacity></addModule><addModule><capacity>622.0</capacity></addModule>
    </additionalModules></link>
   <link id="L3"><source>C</source><target>A</target></link>
  </links>
 </networkStructure>
 <demands>
  <demand id="D1"><source>A</source><target>C</target>
   <routingUnit>2</routingUnit><demandValue>3.5</demandValue></demand>
  <demand id="D2"><source>A</source><target>C</target><demandValue>1</demandValue></demand>
 </demands>
</network>
"""


def test_graphml_edges_become_links_both_ways_with_their_speed(tmp_path: Path) -> None:
    path = tmp_path / "zoo.graphml"
    path.write_text(GRAPHML)
    scenario = load_scenario(f"{path}?capacity_mbps=100")
    names = scenario.topology.node_names
    assert names == ("Paris", "Lyon", "Paris (2)", "Island")
    found = [(link.source, link.target, link.capacity_bps) for link in scenario.topology.links_of()]
    assert found == [
        ("Paris", "Lyon", 2.5e9),
        ("Lyon", "Paris", 2.5e9),
        ("Paris", "Lyon", 1e6),
        ("Lyon", "Paris", 1e6),
        ("Lyon", "Paris (2)", 1e8),
        ("Paris (2)", "Lyon", 1e8),
        ("Paris (2)", "Paris", 1e8),
    ]
    assert scenario.traffic.demand_count == 6  # the island has none
    assert scenario.routing.max_utilisation(scenario.traffic, scenario.topology) == pytest.approx(0.5)


def test_sndlib_capacities_and_demands(tmp_path: Path) -> None:
    path = tmp_path / "net.xml"
    path.write_text(SNDLIB)
    scenario = load_scenario(str(path))
    assert scenario.topology.capacity_bps.tolist() == [40e6, 40e6, 155e6, 155e6, 1e9, 1e9]
    assert scenario.traffic.rate_bps.tolist() == [8e6]
    assert scenario.routing.paths[0][0].nodes(scenario.topology) == (0, 2)


def test_a_packed_file_is_read_too(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "net.xml.gz"
    path.write_bytes(gzip.compress(SNDLIB.encode()))
    assert load_scenario(str(path)).traffic.rate_bps.tolist() == [8e6]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("<graphml", "<!DOCTYPE x [<!ENTITY a 'aa'>]><graphml", "has a document type or entities"),
        ("</graphml>", "", "is no XML (no element found"),
        ('target="1"', 'target="9"', "edge[0].target: there is no node '9'; name the id of a <node>"),
        ("2500000000.0", "fast", "edge[0].LinkSpeedRaw: is 'fast'; give a number from"),
        ('<node id="1">', '<node id="0">', "node[1]: has no id of its own"),
        ("<edge ", "<hyperedge /><edge ", "<hyperedge>: has no meaning as a link"),
        ('<graph edgedefault="undirected">', '<graph /><graph edgedefault="undirected">', "holds 2 graphs"),
        ("<graphml", "<a>" * 101 + "<graphml", "is nested too deeply"),
    ],
)
def test_broken_graphml_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "zoo.graphml"
    path.write_text(GRAPHML.replace(old, new, 1))
    with pytest.raises(ScenarioError) as caught:
        load_scenario(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("MBITPERSEC", "PARSECS", "meta.unit: is 'PARSECS'; give one of KBITPERSEC"),
        ("<source>B<", "<source>X<", "link[1].source: there is no node 'X'"),
        ("<target>C<", "<target>B<", "link[1]: leads from 'B' to itself"),
        ("3.5", "much", "demand[0].demandValue: is 'much'"),
        ("40.0", "1e300", "link[0].capacity: is '1e300'"),
        ("networkStructure>", "structure>", "is no XML"),
        ('<node id="C"/>', '<node id="C"/><node id="C"/>', "topology.nodes: 'C' is there twice"),
        ('id="B"', 'name="B"', "node[1].id: is null"),
    ],
)
def test_broken_sndlib_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "net.xml"
    path.write_text(SNDLIB.replace(old, new, 1))
    with pytest.raises(ScenarioError) as caught:
        load_scenario(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "source", ["", "a\nb", "x.csv", ".", "a" * 5000, "x" * 300 + ".json", "nope.json", "x.json?a=1"]
)
def test_what_is_no_source_is_refused_in_one_line(source: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario(source)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 6000
