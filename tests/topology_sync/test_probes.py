"""Probes: bytes there and back, calibrated delays, statistics of paths and the order of sending."""

import math
import struct
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology_sync.events import ProbeLost, ProbeReturned
from topology_sync.path_delays import DelaySample, PathDelays, delay_p99_s, reduce_path_delays
from topology_sync.probe_schedule import ProbeSchedule, probe_favour
from topology_sync.probes import (
    PAYLOAD_BYTES,
    PROBE_TARGET,
    Calibration,
    ProbeContent,
    decode_payload,
    decode_probe,
    encode_payload,
    encode_probe,
)

SECRET = b"s" * 32
contents = st.builds(
    ProbeContent,
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**20 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)


def popped(frame: bytes) -> bytes:
    """What the egress switch makes of a labelled frame."""
    assert frame[12:14].hex() == "8847"
    return frame[:12] + bytes.fromhex("0800") + frame[18:]


def test_the_label_says_which_queue_the_probe_waits_in():
    content = ProbeContent(4, 0xABCDE, 1.0)
    told = int.from_bytes(encode_probe(SECRET, content, dscp=46, traffic_class=2)[14:18], "big")
    assert (told >> 12, told >> 9 & 7) == (0xABCDE, 2)
    assert int.from_bytes(encode_probe(SECRET, content, dscp=46)[14:18], "big") >> 9 & 7 == 5


@given(contents, st.integers(0, 63), st.integers(0, 1500))
def test_a_probe_comes_back_as_it_was_sent(content, dscp, frame_bytes):
    frame = encode_probe(SECRET, content, dscp, frame_bytes)
    assert len(frame) >= frame_bytes
    arrived = popped(frame) if content.label else frame
    assert decode_probe(SECRET, arrived) == content
    assert decode_probe(SECRET, arrived + bytes(9)) == content
    assert decode_probe(b"another", arrived) is None


def test_the_frame_is_a_valid_labelled_ipv4_packet():
    frame = encode_probe(SECRET, ProbeContent(4, 0xABCDE, 1.0), dscp=46, frame_bytes=200)
    assert len(frame) == 200
    shim = int.from_bytes(frame[14:18], "big")
    assert (shim >> 12, shim >> 9 & 7, shim >> 8 & 1) == (0xABCDE, 46 >> 3, 1)
    header = frame[18:38]
    total = sum(struct.unpack("!10H", header))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF, "one's complement sum of a valid header"
    assert struct.unpack("!H", header[2:4])[0] == 200 - 18
    assert header[1] >> 2 == 46
    assert header[9] == 253
    assert header[16:20] == PROBE_TARGET == bytes((169, 254, 82, 87))


@given(contents, st.integers(0, PAYLOAD_BYTES * 8 - 1))
def test_any_flipped_bit_of_the_payload_is_refused(content, bit):
    payload = bytearray(encode_payload(SECRET, content))
    payload[bit // 8] ^= 1 << bit % 8
    assert decode_payload(SECRET, bytes(payload)) is None


@given(st.binary(max_size=200))
def test_garbage_is_not_ours_and_never_raises(frame):
    assert decode_payload(SECRET, frame) is None
    assert decode_probe(SECRET, frame) is None
    assert decode_probe(SECRET, encode_probe(SECRET, ProbeContent(1, 2, 3.0))[: len(frame)]) is None


def test_calibration_takes_off_half_of_both_round_trips():
    calibration = Calibration()
    assert math.isnan(calibration.one_way_delay_s(0.02, 1, 2))
    for sample in (0.002, 0.002, 0.090):
        calibration = calibration.with_sample(1, sample).with_sample(2, 2 * sample)
    assert calibration.one_way_delay_s(0.02, 1, 2) == pytest.approx(0.02 - 0.001 - 0.002)
    assert calibration.one_way_delay_s(0.001, 1, 2) == 0.0
    for _ in range(40):
        calibration = calibration.with_sample(1, 0.004)
    assert calibration.round_trip_s(1) == 0.004
    assert len(calibration.recent_s[1]) == calibration.keep


def delays_of(samples, window_s=10.0, start_s=0.0, step_s=0.01, label=7):
    state = PathDelays(window_s)
    for number, delay_s in enumerate(samples):
        state = reduce_path_delays(state, ProbeReturned(start_s + step_s * number, label, float(delay_s), number))
    return state


def test_statistics_of_one_label():
    state = delays_of([0.010, 0.012, 0.020, 0.014] * 5)
    found = state.of({7: 1.0}, 0.2)
    assert found.count == 20
    assert found.delay_s == pytest.approx(0.014)
    assert found.delay_min_s == 0.010
    assert found.jitter_s == pytest.approx((0.002 + 0.006) / 2), "only within pairs"


def test_a_lost_half_of_a_pair_gives_no_jitter_and_no_sequence_none_either():
    state = reduce_path_delays(PathDelays(), ProbeReturned(0, 7, 0.01, 0))
    state = reduce_path_delays(state, ProbeReturned(0.1, 7, 0.02, 3))
    state = reduce_path_delays(state, ProbeReturned(0.2, 7, 0.03))
    found = state.of({7: 1.0}, 0.2)
    assert found.count == 3
    assert math.isnan(found.jitter_s)
    assert math.isnan(found.delay_p99_s)
    assert math.isnan(PathDelays().of({7: 1.0}, 0).delay_s)


def test_samples_leave_the_window_and_silent_labels_are_forgotten():
    state = delays_of([0.01] * 100, step_s=0.5)
    assert state.of({7: 1.0}, 49.5).count == 20
    assert state.of({7: 1.0}, 100.0).count == 0
    assert set(reduce_path_delays(state, ProbeReturned(100, 8, 0.1, 0)).samples) == {8}
    assert reduce_path_delays(state, ProbeReturned(100, 8, math.nan, 0)) is state, "sent before calibration"


def test_lost_probes_are_counted_within_the_window():
    state = PathDelays()
    for second in range(20):
        state = reduce_path_delays(state, ProbeLost(float(second), 7))
    assert state.lost(7, 19.0) == 10
    assert state.lost(8, 19.0) == 0


def test_labels_of_a_split_demand_are_merged_by_share():
    state = delays_of([0.010] * 300)
    for number in range(10):
        state = reduce_path_delays(state, ProbeReturned(3.0, 8, 0.050, number))
    found = state.of({7: 0.75, 8: 0.25, 9: 0.5}, 3.0)
    assert found.count == 310
    assert found.delay_s == pytest.approx((0.75 * 0.010 + 0.25 * 0.050) / 1.0)
    assert found.delay_p99_s == pytest.approx(0.050)


def errors_of_p99(sample, truth_s, count, trials=400):
    return np.array([abs(delay_p99_s(sample(count)) - truth_s) / truth_s for _ in range(trials)])


def test_p99_of_queueing_and_of_constant_delays(capsys):
    random = np.random.default_rng(5)
    base_s = 0.005
    for load in (0.5, 0.8, 0.9):
        mean_s = 0.001 / (1 - load)  # sojourn time of M/M/1 is exponential

        def sample(count, mean_s=mean_s):
            return base_s + random.exponential(mean_s, count)

        truth_s = base_s + mean_s * math.log(100)
        for count, largest_median in ((30, 0.20), (100, 0.12), (400, 0.12)):
            errors = errors_of_p99(sample, truth_s, count)
            with capsys.disabled():
                print(
                    f"\np99 M/M/1 load {load} n {count}: relative error median {np.median(errors):.3f}, "
                    f"90 % {np.quantile(errors, 0.9):.3f}",
                    end="",
                )
            assert np.median(errors) < largest_median
    assert delay_p99_s(np.full(30, 0.01)) == pytest.approx(0.01)
    assert delay_p99_s(np.full(300, 0.01)) == pytest.approx(0.01)


@given(st.lists(st.floats(0, 10), min_size=8, max_size=300))
def test_p99_stays_between_the_median_and_one_and_a_half_of_the_largest(delays):
    delays = np.array(delays)
    assert np.median(delays) - 1e-9 <= delay_p99_s(delays) <= 1.5 * delays.max() + 1e-9


def run_schedule(weights_at, end_s, probes_per_s=20.0, step_s=0.05):
    schedule, sent = ProbeSchedule(), []
    for number in range(round(end_s / step_s)):
        schedule, labels = schedule.due(number * step_s, weights_at(number * step_s), probes_per_s)
        sent += [(number * step_s, label) for label in labels]
    return schedule, sent


def test_labels_are_served_by_weight_within_the_budget():
    _, sent = run_schedule(lambda _: {1: 1.0, 2: 1.0, 3: 2.0}, 40.0)
    counts = Counter(label for _, label in sent)
    assert sum(counts.values()) == pytest.approx(400, abs=2), "10 pairs a second"
    assert counts[3] == pytest.approx(200, abs=2)
    assert counts[1] == pytest.approx(100, abs=2)


def test_equal_weights_take_turns():
    _, sent = run_schedule(lambda _: {1: 1.0, 2: 1.0, 3: 1.0}, 3.0)
    labels = [label for _, label in sent]
    assert all(len(set(labels[start : start + 3])) == 3 for start in range(len(labels) - 2))


def test_a_fresh_label_is_next_and_gets_no_more_than_its_share_later():
    _, sent = run_schedule(lambda time_s: dict.fromkeys((1, 2, 3) if time_s < 5 else (1, 2, 3, 4), 1.0), 10.0)
    later = [label for time_s, label in sent if time_s >= 5]
    assert later[0] == 4
    assert Counter(later)[4] == pytest.approx(len(later) / 4, abs=2)


def test_a_late_call_makes_up_for_little_and_no_label_is_no_work():
    schedule, _ = run_schedule(lambda _: {1: 1.0}, 1.0)
    schedule, labels = schedule.due(100.0, {1: 1.0}, 20.0)
    assert len(labels) == 8
    assert schedule.due(100.01, {1: 1.0}, 20.0)[1] == ()
    assert schedule.due(200.0, {}, 20.0)[1] == ()
    assert schedule.due(200.0, {1: 1.0}, 0.0)[1] == ()


def test_probes_go_where_delays_are_spread():
    steady = [DelaySample(0.0, 0.010, None)] * 40
    spread = [DelaySample(0.0, 0.001 * step, None) for step in range(40)]
    assert probe_favour(steady) == 1.0
    assert probe_favour(spread[:4]) == 1.0  # too few to tell
    assert probe_favour(spread) == 3.0
    assert 1.0 < probe_favour([DelaySample(0.0, 0.0001 * step, None) for step in range(40)]) < 3.0


def test_p99_of_a_queue_that_is_often_full_is_not_beyond_it():
    delays = np.minimum(np.random.default_rng(1).exponential(0.2, 60), 0.1)
    assert delay_p99_s(delays) == pytest.approx(0.1)
