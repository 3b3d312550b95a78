"""The simulated switches do what the OpenFlow specification says."""

from __future__ import annotations

import pytest

from controller.labels import Hop
from controller.rules import (
    Action,
    Bucket,
    FlowRule,
    ForgetInPort,
    GroupRule,
    Match,
    Output,
    PopMpls,
    PushMpls,
    SetMplsLabel,
    ToController,
    ToGroup,
)
from controller.simulated_network import SimulatedNetwork, send, trace
from controller.simulated_switch import Packet, SimulatedSwitch
from controller.update_steps import AddFlow, AddGroup, DeleteFlow, DeleteGroup, ModifyGroup
from topology_sync.errors import TransactionError


def network_with(*flows: FlowRule, groups: tuple[GroupRule, ...] = ()) -> SimulatedNetwork:
    """Switch 1, port 1, to port 1 of switch 2; the rules are those of switch 1."""
    network = SimulatedNetwork((1, 2), {Hop(1, 1): Hop(2, 1), Hop(2, 1): Hop(1, 1)})
    for group in groups:
        network.apply(1, AddGroup(group))
    for flow in flows:
        network.apply(1, AddFlow(flow))
    return network


ANY = Match()


def flow(*actions: Action, match: Match = ANY, priority: int = 1, **more: int) -> FlowRule:
    return FlowRule(more.pop("table", 0), priority, match, actions, **more)  # type: ignore[arg-type]


def test_the_highest_priority_that_matches_wins() -> None:
    network = network_with(
        flow(Output(5), match=Match(ipv4_dst=("10.0.0.0", 8)), priority=5),
        flow(Output(6), match=Match(ipv4_dst=("10.1.0.0", 16), ip_dscp=46), priority=7),
        flow(ToController(), priority=1),
    )

    def ends(packet: Packet) -> tuple[str, int]:
        (outcome,) = trace(network, 1, 9, packet)[0].outcomes
        return outcome.kind, outcome.port

    assert ends(Packet("10.1.2.3", 46)) == ("delivered", 6)
    assert ends(Packet("10.1.2.3", 0)) == ("delivered", 5)
    assert ends(Packet("11.1.2.3", 46)) == ("controller", 0)
    assert ends(Packet("10.1.2.3", 46, labels=(16,))) == ("controller", 0)


def test_metadata_reaches_the_next_table_only() -> None:
    network = network_with(
        FlowRule(0, 1, Match(), (), write_metadata=7, goto_table=1),
        flow(Output(5), match=Match(metadata=7), table=1),
    )
    assert trace(network, 1, 9, Packet())[0].outcomes[0].port == 5
    network.apply(1, AddFlow(FlowRule(0, 1, Match(), (), write_metadata=8, goto_table=1)))
    assert trace(network, 1, 9, Packet())[0].outcomes[0].reason == "no flow in table 1"


def test_labels_are_pushed_and_popped_outermost_first() -> None:
    network = network_with(flow(PushMpls(), SetMplsLabel(17), PushMpls(), SetMplsLabel(18), Output(1)))
    network.apply(2, AddFlow(flow(PopMpls(0x8847), Output(5), match=Match(mpls_label=18))))
    (outcome,) = trace(network, 1, 9, Packet())[0].outcomes
    assert outcome.packet.labels == (17,)
    assert outcome.labels == ((18, 17),)
    network.apply(2, AddFlow(flow(PopMpls(0x0800), Output(5), match=Match(mpls_label=18))))
    assert trace(network, 1, 9, Packet())[0].outcomes[0].reason == "popped to 0x800, is 0x8847"


def test_two_outputs_are_two_copies() -> None:
    (way,) = trace(network_with(flow(Output(5), Output(6))), 1, 9, Packet())
    assert [outcome.port for outcome in way.outcomes] == [5, 6]


def test_nothing_goes_back_out_of_its_ingress_port_unless_that_is_forgotten() -> None:
    network = network_with(flow(Output(9)))
    assert trace(network, 1, 9, Packet())[0].outcomes[0].reason == "output to the ingress port"
    network.apply(1, AddFlow(flow(ForgetInPort(), Output(9))))
    assert trace(network, 1, 9, Packet())[0].outcomes[0].kind == "delivered"


def test_a_loop_is_found() -> None:
    network = network_with(flow(ForgetInPort(), Output(1)))
    network.apply(2, AddFlow(flow(ForgetInPort(), Output(1))))
    assert trace(network, 1, 9, Packet())[0].outcomes[0].reason == "loop"


def test_failover_takes_the_first_live_bucket() -> None:
    group = GroupRule(1, "fast_failover", (Bucket((Output(1),), watch_port=1), Bucket((Output(5),), watch_port=5)))
    network = network_with(flow(ToGroup(1)), groups=(group,))
    assert trace(network, 1, 9, Packet())[0].outcomes[0].dpid == 2
    network.set_link(Hop(2, 1), False)
    assert trace(network, 1, 9, Packet())[0].outcomes[0].port == 5
    network.down_ports.add(Hop(1, 5))
    assert trace(network, 1, 9, Packet())[0].outcomes[0].reason == "no live bucket in group 0x1"
    network.set_link(Hop(2, 1), True)
    assert trace(network, 1, 9, Packet())[0].outcomes[0].dpid == 2


def test_output_to_a_dead_port_is_lost() -> None:
    network = network_with(flow(Output(1)))
    network.set_link(Hop(1, 1), False)
    assert trace(network, 1, 9, Packet())[0].outcomes[0].reason == "port down"


def test_select_shows_every_bucket_with_its_share() -> None:
    group = GroupRule(1, "select", (Bucket((Output(5),), 3), Bucket((Output(6),), 1), Bucket((Output(7),), 0)))
    network = network_with(flow(ToGroup(1)), groups=(group,))
    assert {(way.outcomes[0].port, way.share) for way in trace(network, 1, 9, Packet())} == {(5, 0.75), (6, 0.25)}
    assert [send(network, 1, 9, Packet(), flow_hash).outcomes[0].port for flow_hash in range(4)] == [5, 5, 5, 6]


def test_flows_count_what_is_sent_and_keep_the_count_when_replaced() -> None:
    network = network_with(flow(Output(5), cookie=1))
    trace(network, 1, 9, Packet())
    send(network, 1, 9, Packet())
    network.apply(1, AddFlow(flow(Output(6), cookie=2)))
    send(network, 1, 9, Packet())
    assert list(network.switches[1].packets.values()) == [2]
    network.apply(1, DeleteFlow(flow(Output(6), cookie=2)))
    assert not network.switches[1].packets


def test_only_the_flow_with_that_very_cookie_is_deleted() -> None:
    switch = SimulatedSwitch()
    switch.apply(AddFlow(flow(Output(5), cookie=1)))
    switch.apply(DeleteFlow(flow(Output(5), cookie=2)))
    switch.apply(DeleteFlow(flow(Output(5), cookie=1, priority=2)))
    assert len(switch.flows) == 1


def test_a_deleted_group_takes_its_flows_along() -> None:
    switch = SimulatedSwitch()
    switch.apply(AddGroup(GroupRule(1, "select", ())))
    switch.apply(AddFlow(flow(ToGroup(1))))
    switch.apply(DeleteGroup(1))
    assert not switch.flows


def test_what_a_switch_would_refuse_is_an_error() -> None:
    switch = SimulatedSwitch()
    group = GroupRule(1, "select", ())
    with pytest.raises(TransactionError, match="refers to group"):
        switch.apply(AddFlow(flow(ToGroup(1))))
    with pytest.raises(TransactionError, match="not there"):
        switch.apply(ModifyGroup(group))
    with pytest.raises(TransactionError, match="refers to group"):
        switch.apply(AddGroup(GroupRule(2, "select", (Bucket((ToGroup(1),), 1),))))
    switch.apply(AddGroup(group))
    with pytest.raises(TransactionError, match="already"):
        switch.apply(AddGroup(group))
