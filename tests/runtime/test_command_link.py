"""Wishes to a control loop: who carries them out, what is refused, what comes too late."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import zmq

from runtime import frames, keys
from runtime.command_link import NOBODY, CommandClient, CommandServer, histogram, loop_address
from runtime.frames import Kind, Verb
from runtime.link import LinkError
from runtime.loop import ControlLoop
from runtime.modes import Mode
from runtime.policy import load_policy
from runtime.state import Command


class Desk:
    """Writes down what it is asked."""

    def __init__(self, policy) -> None:
        self.loop = ControlLoop(policy, SimpleNamespace(), Command("stand"))  # pyright: ignore
        self.spec = policy.spec
        self.asked: list[object] = []

    def command(self, command: Command) -> str:
        self.asked.append(command)
        self.loop.command = command
        return "not today" if command.heading == 1.25 else ""

    def request(self, mode: Mode) -> tuple[bool, str]:
        self.asked.append(mode)
        return mode is not Mode.RAMP, "no ramp here" if mode is Mode.RAMP else ""

    def push(self, force: np.ndarray, seconds: float) -> tuple[bool, str]:
        self.asked.append((force.tolist(), seconds))
        return True, ""


@contextmanager
def served(server: CommandServer, desk: Desk) -> Iterator[None]:
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.002):
            server.serve(desk)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        server.close()


@pytest.fixture
def endpoint(tmp_path) -> str:
    return f"ipc://{tmp_path}/h1"


@pytest.fixture
def desk(make_policy) -> Desk:
    return Desk(load_policy(make_policy()))


def connected(endpoint: str, key_dir: str = "") -> CommandClient:
    client, deadline = CommandClient(endpoint, key_dir=key_dir), time.monotonic() + 5.0
    while not client.status().granted and time.monotonic() < deadline:
        time.sleep(0.01)
    return client


def test_a_wish_reaches_the_desk_and_the_answer_says_what_the_loop_does(endpoint, desk):
    with served(CommandServer(endpoint), desk):
        client = connected(endpoint)
        answer = client.command(Command("walk", -0.5, (1.0, 0.0, 0.25)))
        assert answer.granted and answer.task == "walk" and answer.heading == -0.5
        assert answer.velocity == (1.0, 0.0, 0.25)
        assert answer.tasks == ("stand", "walk") and "heading" in answer.blocks
        assert client.request_mode(Mode.POLICY).granted
        assert client.push((10.0, -20.0, 0.0), 0.1).granted
        client.close()
    wish = Command("walk", -0.5, (1.0, 0.0, 0.25))
    assert desk.asked == [wish, Mode.POLICY, ([10.0, -20.0, 0.0], 0.1)]


def test_what_the_desk_refuses_comes_back_as_its_reason(endpoint, desk):
    with served(CommandServer(endpoint), desk):
        client = connected(endpoint)
        assert client.command(Command("stand", 1.25)).reason == "not today"
        answer = client.request_mode(Mode.RAMP)
        assert (answer.granted, answer.reason) == (False, "no ramp here")
        client.close()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (Command("fly"), "task 'fly' is not one of ['stand', 'walk']"),
        (Command("walk", np.nan), "must be finite"),
        (Command("walk", 0.0, (np.inf, 0.0, 0.0)), "must be finite"),
    ],
)
def test_wishes_that_make_no_sense_never_reach_the_desk(endpoint, desk, command, says):
    with served(CommandServer(endpoint), desk):
        client = connected(endpoint)
        answer = client.command(command)
        client.close()
    assert not answer.granted and says in answer.reason
    assert desk.asked == []


def test_without_a_control_loop_the_client_says_so_and_its_wish_is_void(endpoint, desk):
    client = CommandClient(endpoint)
    answer = client.command(Command("walk"))
    assert (answer.granted, answer.reason) == (False, NOBODY)
    with served(CommandServer(endpoint), desk):
        time.sleep(0.3)
        assert client.status().granted
    assert desk.asked == [], "a wish made before there was a loop is not carried out later"
    client.close()


def test_a_wish_that_waited_too_long_is_refused(endpoint, desk):
    server, client = CommandServer(endpoint), None
    try:
        client = CommandClient(endpoint)
        time.sleep(0.3)
        assert client.command(Command("walk")).reason == NOBODY  # nobody serves: it lies there
        time.sleep(0.1)
        server.serve(desk)
    finally:
        server.close()
        if client is not None:
            client.close()
    assert desk.asked == []


def raw(endpoint: str) -> tuple[zmq.Context, zmq.Socket]:
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(loop_address(endpoint))
    return context, socket


def test_bytes_that_are_no_wish_are_counted_and_change_nothing(endpoint, desk):
    server = CommandServer(endpoint)
    context, socket = raw(endpoint)
    good = frames.blank(Kind.WISH)
    bad = (b"", b"x", b"EZMW" + bytes(200), good.tobytes()[:-1], good.tobytes() + b"x")
    with served(server, desk):
        for data in (*bad, frames.blank(Kind.REQUEST).tobytes(), good.tobytes()):  # verb 0
            socket.send(data)
        client = connected(endpoint)
        assert client.status().granted
        assert server.refused == 7
        client.close()
    socket.close()
    context.term()
    assert desk.asked == []


def test_another_robot_s_view_and_the_robot_process_s_verbs_are_refused(endpoint, desk):
    context, socket = raw(endpoint)
    with served(CommandServer(endpoint), desk):
        for verb, joints, says in (
            (Verb.MODE, b"another robot", "joint order"),
            (Verb.ACQUIRE, frames.JOINTS, "asked of the robot process"),
        ):
            wish = frames.blank(Kind.WISH)
            wish["verb"], wish["joints"], wish["stamp"] = verb, joints, time.monotonic()
            socket.send(wish.tobytes())
            assert socket.poll(2000)
            answer = frames.decode(socket.recv(), Kind.ANSWER)[0]
            assert not answer["granted"] and says in frames.text(answer["reason"])
    socket.close()
    context.term()
    assert desk.asked == []


def test_with_keys_a_view_without_them_is_not_heard(endpoint, desk, tmp_path):
    folder = tmp_path / "keys"
    keys.make(folder)
    with served(CommandServer(endpoint, key_dir=str(folder)), desk):
        stranger = CommandClient(endpoint)
        assert stranger.status().reason == NOBODY
        friend = connected(endpoint, str(folder))
        assert friend.status().granted
        stranger.close()
        friend.close()


def test_the_histogram_has_eight_bins_a_decade_and_open_ends():
    values = np.array([0.0, 1.0, 10.0, 13.3, 13.4, 100.0, 999.0, 1e9])
    counts = histogram(values)
    expected = np.zeros(frames.LATENCY_BINS, int)
    edges = 10.0 * 10.0 ** (np.arange(1, frames.LATENCY_BINS) / 8.0)
    for value in values:  # the definition, one by one
        expected[int((value >= edges).sum())] += 1
    np.testing.assert_array_equal(counts, expected)
    assert counts.sum() == len(values)


def test_a_tcp_endpoint_s_wishes_stay_on_this_machine():
    assert loop_address("tcp://10.0.0.7:7400") == "tcp://127.0.0.1:7402"
    assert loop_address("ipc:///tmp/x") == "ipc:///tmp/x.loop"
    with pytest.raises(LinkError, match="expected ipc"):
        loop_address("udp://x")
