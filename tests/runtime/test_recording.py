"""What was recorded is what was on the wire; what is replayed is what was recorded."""

from __future__ import annotations

import dataclasses
import errno
import json
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mcap", reason="NOT TESTED HERE: recording needs pip install 'ezm[record]'")
pytest.importorskip("mcap_ros2")
pytest.importorskip("mujoco")

from runtime import bag, compare, frames, h1, recorder, replay, ros_cdr
from runtime.frames import Kind


def test_a_recording_holds_what_was_on_the_wire(tmp_path, make_policy, record_run):
    path = tmp_path / "run.mcap"
    states, ticks = record_run(path, make_policy(scale=0.05), seconds=0.3)
    found = bag.load(path)
    assert len(found.time) == len(states)
    assert len(found.ticks) == len(ticks)
    for row in (0, len(states) // 2, len(states) - 1):
        record = frames.decode(states[row], Kind.STATE)[0]
        np.testing.assert_array_equal(found.position[row], record["joint_position"])
        np.testing.assert_array_equal(found.velocity[row], record["joint_velocity"])
        np.testing.assert_array_equal(found.written[row], record["target_position"])
        assert found.process["seq"][row] == record["seq"]
        assert found.process["now"][row] == record["now"]
    record, tick = frames.decode(ticks[-1], Kind.TICK)[0], found.ticks[-1]
    np.testing.assert_array_equal(tick.state.orientation, record["orientation"])
    np.testing.assert_array_equal(tick.state.joint_velocity, record["joint_velocity"])
    np.testing.assert_allclose(tick.state.base_linear_velocity, record["base_linear_velocity"])
    assert (tick.command.task, tick.command.heading) == ("stand", 0.2)
    assert tick.seq == record["seq"]
    assert [event["mode"] for _, event in found.events][-1] == "POLICY"


def test_an_unchanged_run_replays_to_the_same_targets_and_writes(tmp_path, make_policy, record_run):
    path = tmp_path / "run.mcap"
    record_run(path, make_policy(scale=0.05, history=3), seconds=0.6)
    figures = replay.report(replay.ReplayConfig(), bag.load(path))
    assert figures["targets_compared"] > 30
    assert figures["writes_compared"] > 200
    assert figures["targets_different"] == figures["writes_different"] == 0
    assert figures["target_worst_rad"] < 1e-9
    assert figures["write_worst_rad"] < 1e-9


def test_replay_names_the_joint_and_the_time_of_another_policy(
    tmp_path, make_policy, capsys, record_run
):
    path = tmp_path / "run.mcap"
    record_run(path, make_policy(scale=0.05), seconds=0.3)
    other = make_policy(name="other.onnx", scale=0.05, seed=5)
    figures = replay.report(replay.ReplayConfig(policy=str(other)), bag.load(path))
    assert figures["targets_different"] == figures["targets_compared"]
    said = capsys.readouterr().out.splitlines()
    assert len(said) >= 5
    assert any(name in said[0] for name in h1.JOINT_NAMES)


def test_replay_finds_a_guard_that_did_something_else(tmp_path, make_policy, record_run):
    path = tmp_path / "run.mcap"
    record_run(path, make_policy(scale=0.05), seconds=0.3)
    config = replay.ReplayConfig(server="guard.rate_limit=0.5")
    figures = replay.report(config, bag.load(path))
    assert figures["targets_different"] == 0
    assert figures["writes_different"] > 0


def test_replay_counts_ticks_that_are_missing(tmp_path, make_policy, record_run):
    path = tmp_path / "run.mcap"
    policy = make_policy(scale=0.05)
    states, ticks = record_run(tmp_path / "all.mcap", policy, seconds=0.3)
    recording = recorder.Recording(path, {"policy": str(policy), "robot": "mujoco"})
    for data in states:
        recording.add(Kind.STATE, data)
    for data in ticks[:20] + ticks[23:]:
        recording.add(Kind.TICK, data)
    recording.close()
    assert replay.report(replay.ReplayConfig(), bag.load(path))["ticks_missing"] == 3


def test_compare_of_a_run_with_itself_is_zero_and_with_another_is_not(
    tmp_path, make_policy, record_run
):
    policy = make_policy(scale=0.05)
    one, two = tmp_path / "one.mcap", tmp_path / "two.mcap"
    record_run(one, policy, seconds=0.3)
    record_run(two, policy, seconds=0.3, seed=3)
    out = tmp_path / "page.html"
    config = compare.CompareConfig(a=str(one), b=str(one), out=str(out))
    assert compare.report(config)["apart_rad"] == 0.0
    figures = compare.report(dataclasses.replace(config, b=str(two), joints="left_knee,torso"))
    assert figures["apart_rad"] > 0.0
    page = out.read_text()
    assert page.count("<svg") == 6 + 2 * 2
    assert "one.mcap" in page
    assert "two.mcap" in page
    with pytest.raises(bag.BagError, match=r"'thumb'.*there are"):
        compare.report(dataclasses.replace(config, joints="thumb"))


def test_what_is_no_recording_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(bag.BagError, match="does not exist"):
        bag.load(tmp_path / "none.mcap")
    (tmp_path / "text.mcap").write_text("not a recording at all")
    with pytest.raises(bag.BagError, match="damaged or no recording"):
        bag.load(tmp_path / "text.mcap")


def test_a_recording_is_never_overwritten(tmp_path):
    path = tmp_path / "run.mcap"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="exists already"):
        recorder.Recording(path, {})
    assert path.read_text() == "precious"


def test_a_full_disk_ends_the_recorder_with_a_sentence(tmp_path, monkeypatch):
    def full(config, ending):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recorder, "record", full)
    monkeypatch.setattr(sys, "argv", ["recorder", f"out={tmp_path}/run.mcap"])
    with pytest.raises(SystemExit, match=r"No space left.*the robot goes on"):
        recorder.main()


def test_templates_say_what_an_independent_reader_reads():
    """Oracle: mcap_ros2's own decoder, made from the definitions that the file carries."""
    from mcap_ros2._dynamic import generate_dynamic

    def read(template: ros_cdr.Template, data: bytes) -> Any:
        kinds = generate_dynamic(template.kind, ros_cdr.DEFINITIONS[template.kind])
        return kinds[template.kind](data)

    rows = np.random.default_rng(0).normal(size=(3, 2))
    joints = ros_cdr.joint_state("base", ("knee", "a_longer_name"))
    message = read(joints, joints.fill(5_000_000_007, *rows))
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (5, 7)
    assert (message.header.frame_id, message.name) == ("base", ["knee", "a_longer_name"])
    np.testing.assert_array_equal([message.position, message.velocity, message.effort], rows)
    imu = ros_cdr.imu("torso_link")
    message = read(imu, imu.fill(1, (0.1, 0.2, 0.3, 0.4), (1.0, 2.0, 3.0)))
    assert (message.orientation.x, message.orientation.w) == (0.1, 0.4)
    assert (message.angular_velocity.z, message.linear_acceleration_covariance[0]) == (3.0, -1.0)
    motion = ros_cdr.odometry("odom", "pelvis")
    message = read(motion, motion.fill(1, (1, 2, 3), (0, 0, 0, 1), (4, 5, 6), (7, 8, 9)))
    assert message.pose.pose.position.y == 2.0
    assert message.pose.pose.orientation.w == 1.0
    assert (message.twist.twist.linear.z, message.twist.twist.angular.x) == (6.0, 7.0)
    assert message.child_frame_id == "pelvis"
    labelled = ros_cdr.numbers(("one", "two"))
    message = read(labelled, labelled.fill(1, (0.5, 1.5)))
    assert (list(message.data), message.layout.dim[0].label) == ([0.5, 1.5], "one two")


def test_the_metadata_says_whose_run_it_was(tmp_path, make_policy, record_run):
    path = tmp_path / "run.mcap"
    policy = make_policy()
    record_run(path, policy, seconds=0.1)
    assert bag.load(path).about == {
        "policy": str(policy),
        "robot": "mujoco",
        "server": "",
        "note": "test",
    }
    assert json.dumps(bag.load(path).about)
