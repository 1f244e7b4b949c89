"""The whole chain: policy -> wire -> robot process -> DDS -> the H1's double, each a process.

The limits are a real robot's, but for those of lateness, because test machines are busy.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.link import RobotClient
from runtime.loop import ControlLoop
from runtime.modes import Mode
from runtime.policy import Policy, load_policy
from runtime.processes import RobotProcess
from runtime.state import Command

POLICY = Path(__file__).parents[2] / "models" / "h1" / "policy.onnx"
WORDS = ("interface=lo", "motion=release", "modes.ramp_time=1", "guard.deadline=off")
WORDS += ("guard.state_limit=0.3", "guard.frozen_limit=0.3", "guard.target_damp=0.5")


class DoubleProcess:
    """`python -m runtime.h1_double`, and what it says about itself."""

    def __init__(self, domain: int, *words: str) -> None:
        argv = [sys.executable, "-m", "runtime.h1_double", f"domain={domain}", "status=0.2", *words]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.said: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert until(lambda: bool(self.said), 20.0), "the double says nothing"

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said = json.loads(line)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10.0)


class Chain:
    """Everything between a policy and the double, brought up to HOLD."""

    def __init__(self, domain: int, *body: str, words: tuple[str, ...] = ()) -> None:
        self.double = DoubleProcess(domain, *body)
        self.robot = RobotProcess("unitree", f"domain={domain}", *WORDS, *words)
        self.client = RobotClient(self.robot.endpoint, "chain")
        policy = load_policy(str(POLICY))
        self.loop = ControlLoop(policy, self.client, Command("stand"))
        try:
            self._bring_up(policy)
        except BaseException:
            self.close()
            raise

    def _bring_up(self, policy: Policy) -> None:
        """Walk to HOLD; on a busy machine the guard may damp on the way: then ask again."""
        self.client.wait(20.0)
        self._must_acquire(policy)
        self.loop.start()
        deadline = time.monotonic() + 60.0
        while self.mode is not Mode.HOLD:
            assert time.monotonic() < deadline, self.client.reading()
            if self.mode is Mode.RAMP:
                time.sleep(0.02)
                continue
            self._must_acquire(policy)
            wish = Mode.RAMP if self.mode is Mode.DAMPING else Mode.DAMPING
            self.client.request_mode(wish)

    def _must_acquire(self, policy: Policy) -> None:
        assert until(lambda: self.client.acquire(policy.spec)[0], 20.0)

    def ask(self, mode: Mode) -> None:
        granted, reason = self.client.request_mode(mode)
        if not granted and "does not answer" in reason:  # it may be that busy
            granted, reason = self.client.request_mode(mode)
        assert granted, reason

    def reaches(self, mode: Mode, timeout: float = 10.0) -> bool:
        return until(lambda: self.mode is mode, timeout)

    @property
    def mode(self) -> Mode:
        reading = self.client.reading()
        assert reading is not None
        return reading.mode

    def close(self) -> None:
        self.loop.stop()
        self.client.close()
        self.robot.stop()
        self.double.stop()


def until(true, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(true())


@pytest.fixture
def chain() -> Iterator[Chain]:
    chain = Chain(180)
    yield chain
    chain.close()


def test_a_policy_moves_the_double_and_its_death_leaves_it_damped(chain):
    double = chain.double
    assert double.said["motion"] == "", "the motion program was released"
    assert until(lambda: double.said["stiff"] == 300.0, 3.0), "HOLD is stiff"
    chain.ask(Mode.POLICY)
    assert chain.reaches(Mode.POLICY), chain.client.reading()
    before = double.said["commands"]
    time.sleep(1.0)
    assert chain.mode is Mode.POLICY, chain.client.reading()
    assert double.said["commands"] > before + 50
    assert double.said["refused"] == 0
    chain.loop.stop()  # as a killed policy: targets stop, the lease ends
    assert chain.reaches(Mode.DAMPING)
    assert until(lambda: double.said["stiff"] == 0.0 and double.said["damped"] > 0.0, 3.0)
    before = double.said["commands"]
    assert until(lambda: double.said["commands"] > before + 20, 5.0), "damping is sustained"


def test_the_remote_stops_the_policy_for_good(chain):
    chain.ask(Mode.POLICY)
    assert chain.reaches(Mode.POLICY)
    chain.double.tell("press B")
    assert chain.reaches(Mode.ESTOP, 3.0)
    chain.double.tell("press")
    granted, reason = chain.client.request_mode(Mode.POLICY)
    assert not granted
    assert "ESTOP" in reason
    assert until(lambda: chain.double.said["stiff"] == 0.0, 3.0)


@pytest.mark.parametrize(
    ("fault", "mode"), [("silent 1", Mode.DAMPING), ("frozen 1", Mode.DAMPING)]
)
def test_states_that_stop_or_stand_still_end_in_damping(chain, fault, mode):
    chain.double.tell(fault)
    assert chain.reaches(mode, 3.0), chain.client.reading()
    assert "state_" in chain.client.reading().fault


def test_the_robot_s_own_program_coming_back_is_an_emergency(chain):
    chain.double.tell("motion ai")
    assert chain.reaches(Mode.ESTOP, 5.0), chain.client.reading()


def test_a_robot_process_that_ends_damps_first_and_a_killed_one_is_the_drives_business():
    chain = Chain(181, "body.command_lost=damp", words=("exit_damping=0.5",))
    chain.robot.stop()
    assert until(lambda: chain.double.said["stiff"] == 0.0, 2.0)
    assert chain.double.said["damped"] > 0.0
    chain.close()


def test_noise_latency_and_loss_of_an_ordinary_network_do_not_stop_it():
    """2 ms each way, one message in fifty lost, encoders and gyro as noisy as cheap ones."""
    words = ("state_latency=0.002", "command_latency=0.002", "state_loss=0.02", "command_loss=0.02")
    noise = ("position_noise=0.0005", "velocity_noise=0.02", "gyro_noise=0.01", "tilt_noise=0.003")
    chain = Chain(182, *(f"body.{word}" for word in words + noise))
    try:
        chain.ask(Mode.POLICY)
        assert chain.reaches(Mode.POLICY), chain.client.reading()
        time.sleep(1.0)
        assert chain.mode is Mode.POLICY, chain.client.reading()
        assert chain.double.said["refused"] == 0
    finally:
        chain.close()
