"""The wire: frames survive it, rubbish does not harm it, one commander at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime import frames, h1, keys
from runtime.frames import FrameError, Kind, Verb
from runtime.link import LinkError, RobotClient, addresses, is_private
from runtime.modes import Mode
from runtime.server_link import LEASE, Request, RobotServerLink
from runtime.state import JointTargets, squares


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/h1"


@pytest.fixture
def link(endpoint: str) -> Iterator[RobotServerLink]:
    link = RobotServerLink(endpoint)
    yield link
    link.close()


def targets(seq: int = 1) -> JointTargets:
    rng = np.random.default_rng(seq)
    rows = [rng.normal(size=19) for _ in range(5)]
    return JointTargets(seq, 1.5, rows[0], rows[1], rows[2], rows[3], rows[4])


def received(link: RobotServerLink, now: float, count: int = 1) -> list[JointTargets | Request]:
    """Wait up to a second of real time for `count` messages; `now` is the link's own clock."""
    found: list[JointTargets | Request] = []
    deadline = time.monotonic() + 1.0
    while len(found) < count and time.monotonic() < deadline:
        found += list(link.receive(now))
        time.sleep(0.001)
    return found


def lease_for(client: RobotClient, link: RobotServerLink, now: float) -> tuple[bool, str]:
    frame = frames.blank(Kind.REQUEST)
    frame["verb"], frame["joints"], frame["text"] = Verb.ACQUIRE, frames.JOINTS, client.name
    client._send(frame)
    (request,) = received(link, now)
    assert isinstance(request, Request)
    return link.lease(request, now)


def test_targets_survive_the_wire_exactly(endpoint, link):
    client = RobotClient(endpoint)
    assert lease_for(client, link, 0.0)[0]
    client.send_targets(targets())
    (got,) = received(link, 0.1)
    assert isinstance(got, JointTargets)
    for name in ("seq", "stamp", "position", "velocity", "torque", "stiffness", "damping"):
        np.testing.assert_array_equal(getattr(got, name), getattr(targets(), name))
    client.close()


def test_a_second_commander_is_refused_with_a_reason_until_the_first_is_silent(endpoint, link):
    first, second = RobotClient(endpoint, "first"), RobotClient(endpoint, "second")
    assert lease_for(first, link, 0.0)[0]
    granted, reason = lease_for(second, link, 0.5)
    assert not granted
    assert "'first' commands this robot" in reason
    refused = link.refused
    second.send_targets(targets())
    assert received(link, 0.6) == []
    assert link.refused == refused + 1
    assert lease_for(second, link, 0.5 + LEASE + 0.1)[0]
    first.send_targets(targets())
    assert received(link, 2.0) == []
    first.close()
    second.close()


def test_another_joint_order_is_refused(endpoint, link, monkeypatch):
    client = RobotClient(endpoint)
    monkeypatch.setattr(frames, "JOINTS", b"0123456789abcdef")
    frame = frames.blank(Kind.REQUEST)
    frame["verb"], frame["joints"] = Verb.ACQUIRE, frames.JOINTS
    monkeypatch.undo()
    client._send(frame)
    assert received(link, 0.0) == []
    time.sleep(0.05)
    client._collect()
    assert "joint order" in next(iter(client._replies.values()))[1]
    client.close()


def test_another_version_of_the_wire_is_told_so(endpoint, link, monkeypatch):
    client = RobotClient(endpoint)
    frame = frames.blank(Kind.REQUEST)
    frame["version"], frame["verb"] = frames.VERSION + 1, Verb.ACQUIRE
    client._send(frame)
    assert received(link, 0.0) == []
    time.sleep(0.05)
    client._collect()
    says = next(iter(client._replies.values()))[1]
    assert f"wire version {frames.VERSION + 1}, this side speaks {frames.VERSION}" in says
    client.close()


def test_limits_that_do_not_fit_a_frame_are_not_cut():
    client = RobotClient("ipc:///tmp/nobody-listens-here")
    limits = {"rate_limit": 1.0, "torque_factor": 0.5, "velocity_factor": 1.25, "tilt_limit": 0.5}
    granted, reason = client.change_limits(**limits)
    assert not granted
    assert "longer than 64 characters" in reason
    client.close()


@pytest.mark.parametrize("kind", list(Kind))
def test_frames_of_wrong_size_version_or_magic_are_refused(kind):
    good = frames.blank(kind).tobytes()
    assert frames.decode(good, kind).shape == (1,)
    for bad, says in (
        (good[:-1], "bytes"),
        (good + b"\0", "bytes"),
        (b"", "no frame"),
        (b"XXXX" + good[4:], "no frame"),
        (good[:4] + b"\x09\x00" + good[6:], "wire version 9"),
        (good[:6] + b"\x63\x00" + good[8:], "unknown kind"),
    ):
        with pytest.raises(FrameError, match=says):
            frames.decode(bad, kind)


_LAYOUT_SIZE = len(frames.blank(Kind.TARGETS).tobytes())


def mutated(kind: Kind) -> st.SearchStrategy[bytes]:
    """A frame of this kind with some bytes changed, or cut."""
    good = frames.blank(kind).tobytes()

    def change(edits: list[tuple[int, int]], length: int) -> bytes:
        data = bytearray(good)
        for place, value in edits:
            data[place % len(data)] = value
        return bytes(data[:length])

    edits = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=12)
    return st.builds(change, edits, st.one_of(st.just(len(good)), st.integers(0, len(good))))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.one_of(st.binary(max_size=60), *(mutated(kind) for kind in Kind)), min_size=1, max_size=5
    )
)
def test_rubbish_never_raises_and_never_becomes_targets_without_a_lease(link, endpoint, rubbish):
    context = zmq.Context.instance()
    with context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 200)
        socket.connect(addresses(endpoint)[1])
        for data in rubbish:
            socket.send_multipart([data] if len(data) % 3 else [data, data])
        done = frames.blank(Kind.REQUEST)
        done["verb"], done["joints"], done["seq"] = Verb.TASK, frames.JOINTS, 77777
        socket.send(done.tobytes())
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            for message in link.receive(0.0):
                assert isinstance(message, Request)
                link.reply(message, True, "x" * 400)
                if message.seq == 77777:
                    return
    pytest.fail("the link stopped listening")


def test_no_frame_of_the_wire_is_too_large_for_it():
    assert max(frames.blank(kind).nbytes for kind in Kind) <= frames.LARGEST


def test_a_message_that_is_too_large_ends_its_sender_s_connection_and_nothing_else(link, endpoint):
    """The robot process's memory is locked: a stranger must not fill it."""
    commander = RobotClient(endpoint, "commander")
    assert lease_for(commander, link, 0.0) == (True, "")
    stranger = RobotClient(endpoint, "stranger")
    stranger._commands.send(bytes(50_000_000))
    commander.send_targets(targets(7))
    (message,) = received(link, 0.1)
    assert isinstance(message, JointTargets)
    assert message.seq == 7
    assert received(link, 0.1) == []
    assert link.refused == 0  # it never arrived
    for client in (commander, stranger):
        client.close()


def test_a_client_shrugs_at_rubbish_states(endpoint, link):
    client = RobotClient(endpoint)
    time.sleep(0.1)
    state = frames.blank(Kind.STATE)
    bad_mode = state.copy()
    bad_mode["mode"] = 200
    for data in (b"rubbish", state.tobytes()[:-3], bad_mode.tobytes()):
        link._states.send(data)
        time.sleep(0.02)
        assert client.reading() is None
    state["seq"], state["task"], state["mode"] = 5, b"stand", Mode.HOLD
    link.publish(state)
    reading = client.wait(1.0)
    assert (reading.seq, reading.task, reading.mode) == (5, "stand", Mode.HOLD)
    assert reading.age < 0.5
    client.close()


def test_silence_is_reported_with_the_endpoint(endpoint):
    client = RobotClient(endpoint)
    with pytest.raises(LinkError, match="no state from the robot process at ipc://"):
        client.wait(0.05)
    assert client.reading() is None
    client.send_targets(targets())  # nobody there: dropped, not raised
    client.close()


@pytest.mark.parametrize(
    "endpoint", ["tcp://0.0.0.0:7410", "tcp://*:7410", "tcp://192.168.123.162:7410"]
)
def test_an_address_that_others_can_reach_is_not_bound_without_keys(endpoint):
    assert not is_private(endpoint)
    with pytest.raises(LinkError, match=r"refusing to bind without keys.*runtime.keys"):
        RobotServerLink(endpoint)


@pytest.mark.parametrize("endpoint", ["ipc:///tmp/x", "tcp://127.0.0.1:1", "tcp://localhost:1"])
def test_local_addresses_are_private(endpoint):
    assert is_private(endpoint)


@pytest.mark.parametrize(
    "endpoint", ["", "h1", "udp://1.2.3.4:5", "tcp://127.0.0.1", "tcp://127.0.0.1:65535", "ipc://"]
)
def test_what_is_no_endpoint_is_refused(endpoint):
    with pytest.raises(LinkError, match="expected ipc"):
        addresses(endpoint)


def exchange(endpoint: str, link: RobotServerLink, make: Callable[[], RobotClient]) -> bool:
    """Return True if a targets frame of a client reaches the link."""
    client = make()
    frame = frames.blank(Kind.REQUEST)
    frame["verb"], frame["joints"] = Verb.TASK, frames.JOINTS
    client._send(frame)
    found = received(link, 0.0)
    client.close()
    return bool(found)


def test_with_keys_only_clients_that_have_them_get_through(tmp_path):
    keys.make(tmp_path / "ours")
    keys.make(tmp_path / "theirs")
    assert (tmp_path / "ours" / "robot.key_secret").stat().st_mode & 0o077 == 0
    endpoint = f"ipc://{tmp_path}/h1"
    link = RobotServerLink(endpoint, key_dir=str(tmp_path / "ours"))
    ours = str(tmp_path / "ours")
    assert exchange(endpoint, link, lambda: RobotClient(endpoint, key_dir=ours))
    assert not exchange(endpoint, link, lambda: RobotClient(endpoint))
    theirs = str(tmp_path / "theirs")
    assert not exchange(endpoint, link, lambda: RobotClient(endpoint, key_dir=theirs))
    link.close()


def test_missing_keys_are_named(tmp_path):
    with pytest.raises(keys.KeyFileError, match=r"commander\.key is missing"):
        RobotServerLink(f"ipc://{tmp_path}/h1", key_dir=str(tmp_path / "none"))


def test_the_joint_digest_depends_on_the_order():
    assert len(frames.JOINTS) == 16
    assert len(h1.JOINT_NAMES) == 19


@pytest.mark.parametrize("offset", [0, 1, 4, 8])
def test_sums_of_squares_take_what_a_frame_leaves_unaligned(offset):
    data = bytes(offset) + np.arange(19.0).tobytes()
    row = np.frombuffer(data, np.float64, offset=offset)
    assert squares(row) == 2109.0
    with np.errstate(all="raise"):
        assert np.isinf(squares(row + 1e200)) and np.isnan(squares(row * np.nan))
