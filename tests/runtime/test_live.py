"""The live view's server: who may look, who may command, what other web sites may not do."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime import h1
from runtime.link import Reading, RobotClient
from runtime.live import Person
from runtime.live_feed import as_message
from runtime.live_server import MOST_PAGES
from runtime.modes import Mode
from runtime.processes import RobotProcess
from runtime.state import Command, RobotState

ROOT = Path(__file__).parents[2]


class View:
    """A live view in a process of its own, and requests to it."""

    def __init__(self, endpoint: str, *words: str) -> None:
        command = [sys.executable, "-m", "runtime.live", f"endpoint={endpoint}", "port=0", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        found = re.match(r"live view: http://([\d.]+):(\d+)/(?:#key=(\S+))?", self.line)
        assert found, self.line
        self.host, self.port, self.key = found.group(1), int(found.group(2)), found.group(3) or ""

    def ask(
        self, path: str, body: Any = None, *, method: str = "POST", key: str = "", **headers: str
    ) -> tuple[int, Any]:
        link = http.client.HTTPConnection(self.host, self.port, timeout=15.0)
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        sent = {"X-Ezm-Key": key} if key else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        link.request(method, path, data if method == "POST" else None, sent)
        answer = link.getresponse()
        text = answer.read()
        link.close()
        is_json = (answer.getheader("Content-Type") or "").startswith("application/json")
        return answer.status, json.loads(text) if is_json else text

    def close(self) -> int:
        self.process.terminate()
        self.process.communicate(timeout=15)
        return self.process.returncode


@pytest.fixture(scope="module")
def robot() -> Iterator[RobotProcess]:
    with RobotProcess("mujoco") as process:
        yield process


@pytest.fixture(scope="module")
def view(robot) -> Iterator[View]:
    shown = View(robot.endpoint)
    yield shown
    assert shown.close() == 0


def test_the_page_and_its_parts_are_served_with_a_policy_that_runs_nothing_foreign(view):
    for path in ("/", "/view.js", "/robot.js", "/plots.js", "/estop.js", "/style.css"):
        status, text = view.ask(path, method="GET")
        assert status == 200 and len(text) > 300, path
        assert b"://" not in text.replace(b"http://www.w3.org", b""), f"{path} names another host"
    status, said = view.ask("/../h1.xml", method="GET")
    assert status == 404 and "there are" in said["said"]


def test_the_robot_is_served_as_its_joints_and_its_triangles(view):
    robot = json.loads(json.dumps(view.ask("/robot.json", method="GET")[1]))
    assert robot["joints"] == list(h1.JOINT_NAMES)
    assert robot["lower"] == h1.JOINT_LOWER.tolist()
    corners = np.frombuffer(view.ask("/robot.bin", method="GET")[1], "<f4").reshape(-1, 9)
    assert len(corners) == sum(body["corners"] for body in robot["bodies"]) > 10_000


@pytest.mark.parametrize("path", ["/key", "/command", "/mode", "/push"])
def test_without_the_key_or_with_a_wrong_one_a_page_only_looks(view, path):
    for key in ("", "wrong", view.key + "x", view.key[:-1]):
        status, said = view.ask(path, {"mode": "POLICY", "task": "walk"}, key=key)
        assert status == 403 and not said["done"] and "only looks" in said["said"]


def test_with_the_key_but_without_a_policy_wishes_are_answered_by_a_reason(view):
    assert view.ask("/key", key=view.key) == (200, {"done": True, "said": "this page commands"})
    for path, body in (
        ("/command", {"task": "walk"}),
        ("/mode", {"mode": "POLICY"}),
        ("/push", {"angle": 0.0, "newton": 50, "seconds": 0.1}),
    ):
        status, said = view.ask(path, body, key=view.key)
        assert (status, said["done"]) == (409, False)
        assert "no policy runs" in said["said"]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/command", {"tsk": "walk"}, "expected some of task, heading, speed"),
        ("/command", {}, "expected some of"),
        ("/mode", {"mode": "ESTOPP"}, "there are ['DAMPING', 'HOLD', 'POLICY']"),
        ("/mode", {}, "KeyError"),
        ("/push", {"angle": 0, "newton": 1e9, "seconds": 0.1}, "at most"),
        ("/push", {"angle": "left", "newton": 1, "seconds": 0.1}, "could not convert"),
        ("/command", b"[1, 2]", "expected a JSON object"),
        ("/command", b"{", "expected a JSON object"),
    ],
)
def test_requests_that_make_no_sense_are_refused_with_what_was_given(view, path, body, says):
    status, said = view.ask(path, body, key=view.key)
    assert status == 400 and says in said["said"]


def test_bodies_have_a_length_limit(view):
    assert view.ask("/command", b" " * 5000, key=view.key)[0] == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "evil.example:8700", "Origin": "http://evil.example:8700"},
    ],
)
def test_another_web_site_cannot_look_command_or_stop(view, headers):
    for path in ("/estop", "/mode"):
        assert view.ask(path, {"mode": "DAMPING"}, key=view.key, **headers)[0] == 403
    for path in ("/", "/stream", "/robot.json"):
        assert view.ask(path, method="GET", **headers)[0] == 403


def events(view: View, count: int) -> list[dict[str, Any]]:
    link = http.client.HTTPConnection(view.host, view.port, timeout=15.0)
    link.request("GET", "/stream")
    answer, found = link.getresponse(), []
    while len(found) < count:
        line = answer.readline()
        if line.startswith(b"data: "):
            found.append(json.loads(line[6:]))
    link.close()
    return found


def test_the_stream_carries_the_state_of_the_robot_process(view, robot, wait_until):
    client = RobotClient(robot.endpoint, "test")
    reading = client.wait(10.0)
    client.close()
    wait_until(lambda: events(view, 1)[0].get("heard"))
    message = events(view, 3)[-1]
    assert message["mode"] == reading.mode.name and message["simulated"]
    np.testing.assert_allclose(message["q"], reading.state.joint_position, atol=1e-3)
    np.testing.assert_allclose(message["base"][:3], reading.state.base_position, atol=1e-3)
    assert message["loop"]["alive"] is False


def look(view: View) -> http.client.HTTPResponse | None:
    """Return an open stream, None if the server has no place for it."""
    link = http.client.HTTPConnection(view.host, view.port, timeout=15.0)
    link.request("GET", "/stream")
    answer = link.getresponse()
    if answer.status == 200:
        return answer  # the caller keeps it: a response that is forgotten closes its connection
    assert answer.status == 503
    link.close()
    return None


def test_more_pages_than_places_are_told_so(view, wait_until):
    streams: list[http.client.HTTPResponse] = []

    def one_more() -> bool:  # places of earlier tests are free once the server has noticed
        stream = look(view)
        if stream is not None:
            streams.append(stream)
        return stream is not None

    for _ in range(MOST_PAGES):
        assert wait_until(one_more), f"{len(streams)} of {MOST_PAGES} places"
    status, said = view.ask("/stream", method="GET")
    assert status == 503 and f"{MOST_PAGES} pages" in said["said"]
    for stream in streams:
        stream.close()
    assert wait_until(one_more)
    streams[-1].close()


def test_anybody_may_stop_the_robot_whatever_is_in_the_body(wait_until):
    with RobotProcess("mujoco") as robot:
        view, client = View(robot.endpoint), RobotClient(robot.endpoint, "test")
        assert client.wait(10.0).mode is Mode.ZERO_TORQUE
        status, said = view.ask("/estop", b"\xff not json")
        assert status == 200 and said["done"]
        assert wait_until(lambda: client.wait(2.0).mode is Mode.ESTOP, 5.0)
        robot.stop()
        status, said = view.ask("/estop")
        assert status == 409 and "NOT CONFIRMED, use the hardware stop" in said["said"]
        client.close()
        assert view.close() == 0


def test_beyond_loopback_or_with_command_off_no_key_exists(robot):
    for words in (("host=0.0.0.0",), ("command=false",)):
        view = View(robot.endpoint, *words)
        view.host = "127.0.0.1"
        assert view.key == "" and "look and e-stop only" in view.line
        for key in ("", "x"):
            assert view.ask("/mode", {"mode": "POLICY"}, key=key)[0] == 403
        view.close()


def test_two_views_do_not_fight_for_a_port(robot):
    first = View(robot.endpoint)
    second = View(robot.endpoint, f"port={first.port}")
    assert first.port != second.port
    assert first.key != second.key
    first.close()
    second.close()


def test_bad_words_end_with_a_sentence():
    for words, says in (
        (["port=99999"], "expected port 0..65535"),
        (["endpoint=udp://x"], "expected ipc"),
        (["keys=nowhere"], "key file"),
        (["hots=x"], "did you mean 'host'"),
    ):
        command = [sys.executable, "-m", "runtime.live", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode != 0 and says in done.stderr and "Traceback" not in done.stderr


def reading(**change: Any) -> Reading:
    """Return a real robot's reading: it does not know where it is, and nobody scores it."""
    nan, joints = np.full(3, np.nan), np.zeros(19)
    state = RobotState(
        stamp=1.0,
        orientation=np.array([1.0, 0, 0, 0]),
        angular_velocity=np.zeros(3),
        joint_position=joints,
        joint_velocity=joints,
        joint_torque=np.full(19, np.nan),
        base_position=nan,
        base_linear_velocity=nan,
    )
    values: dict[str, Any] = dict.fromkeys(Reading.__dataclass_fields__, 0)
    values |= {"state": state, "mode": Mode.HOLD, "goal": Mode.HOLD, "target_position": joints}
    values |= {"reward": np.nan, "reward_sum": np.nan, "task": "", "reason": "", "fault": ""}
    return Reading(**(values | change))


def test_what_a_real_robot_does_not_know_is_null_and_never_nan():
    message = as_message(reading(target_age=np.inf), None)
    text = json.dumps(message, allow_nan=False)
    assert message["base"][:3] == [None] * 3 and message["speed"] is None
    assert message["tau"][0] is None and not message["simulated"]
    assert "NaN" not in text
    assert as_message(None, None) == {"heard": False}


def test_a_push_is_turned_from_the_robot_s_front_into_the_world():
    pushed: list[tuple[tuple[float, ...], float]] = []

    def push(force: tuple[float, ...], seconds: float) -> SimpleNamespace:
        pushed.append((force, seconds))
        return SimpleNamespace(granted=True, reason="")

    facing_left = reading()
    facing_left.state.orientation = np.array([np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)])  # yaw 90°
    watch = SimpleNamespace(reading=lambda: facing_left)
    person = Person(watch, SimpleNamespace(), SimpleNamespace(push=push))  # pyright: ignore
    assert person.push({"angle": 0.0, "newton": 100, "seconds": 0.2}) == (True, "")
    assert person.push({"angle": np.pi / 2, "newton": 100, "seconds": 0.2}) == (True, "")
    np.testing.assert_allclose(pushed[0][0], (0.0, 100.0, 0.0), atol=1e-9)
    np.testing.assert_allclose(pushed[1][0], (-100.0, 0.0, 0.0), atol=1e-9)


def test_what_a_command_does_not_name_stays_as_the_loop_has_it():
    sent: list[Command] = []
    now = SimpleNamespace(granted=True, reason="", task="walk", heading=0.5, velocity=(1.0, 0, 0))

    def command(wish: Command) -> SimpleNamespace:
        sent.append(wish)
        return now

    loop = SimpleNamespace(status=lambda: now, command=command)
    person = Person(SimpleNamespace(), SimpleNamespace(), loop)  # pyright: ignore
    person.command({"task": "stand"})
    person.command({"heading": -1.0})
    person.command({"speed": 2.0})
    assert sent == [
        Command("stand", 0.5, (1.0, 0, 0)),
        Command("walk", -1.0, (1.0, 0, 0)),
        Command("walk", 0.5, (2.0, 0, 0)),
    ]
