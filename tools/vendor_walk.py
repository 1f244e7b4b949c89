"""Unitree's own walking policy for the H1 and ours, on the same robots under the same pushes.

    python tools/vendor_walk.py <checkout of unitree_rl_gym>/deploy/pre_train/h1/motion.pt
    python tools/vendor_walk.py --help

The file (a TorchScript LSTM, BSD-3-Clause) is not part of this repository: fetch it yourself, and
only from its owner, since TorchScript runs what it holds. What it expects are the facts of that
repository's deploy configuration: ten leg joints, its own drive gains, a gait clock of 0.8 s and a
velocity command. Its legs get its gains here, arms and torso keep ours and stay in the start pose,
which is as its ten-joint model has them. Ends with one line of JSON.
"""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distill.config import RolloutConfig
from distill.proof import CLEAN, Condition, Make, conditions, measure, push_curve
from distill.report import student_maker
from runtime import h1
from runtime.observation import gravity_of
from runtime.policy import OnnxPolicy
from training.cli import ConfigError, choose, describe
from training.evaluation import ActFunction
from training.h1_env import H1Env
from training.trainer import git_sha

LEGS = (
    *range(5),
    *range(5, 10),
)  # ours are in its order: yaw, roll, pitch, knee, ankle; left first
KP = np.array([150.0, 150.0, 150.0, 200.0, 40.0] * 2)  # N m / rad
KD = np.array([2.0, 2.0, 2.0, 4.0, 2.0] * 2)  # N m s / rad
POSE = np.array([0.0, 0.0, -0.1, 0.3, -0.2] * 2)  # rad
RATE, SPEED, ACTION = 0.25, 0.05, 0.25  # scales of angular velocity, joint speed and action
COMMAND = np.array([2.0, 2.0, 0.25])  # scales of the velocity command
PERIOD = 0.8  # s, of the gait clock


@dataclass(frozen=True)
class VendorConfig:
    """What is compared, and how long."""

    preset: str = "walk"  # the only one
    vendor: str = ""  # motion.pt; the first word may be it
    policy: str = "models/h1/policy.onnx"  # ours
    speeds: tuple[float, ...] = (
        0.5,
        1.0,
    )  # m/s, commanded forward; 0.5 is the vendor's own default
    episodes: int = 20  # of each
    steps: int = 1000  # control steps of 20 ms
    sizes: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)  # m/s, of the pushes
    delay: int = 3  # 2 ms ticks that control is late in the second condition
    seed: int = 70_000  # of the first episode's start


class VendorEnv(H1Env):
    """The same robot with the vendor's drive gains in its legs; actions are joint targets, rad."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.control = lambda action: np.asarray(action, np.float64)
        for model in {
            id(model): model for model in [*self.physics.models, *self._nominal]
        }.values():
            model.actuator_gainprm[LEGS, 0] = KP
            model.actuator_biasprm[LEGS, 1] = -KP
            model.actuator_biasprm[LEGS, 2] = -KD


class VendorWalk:
    """The policy for a batch of robots: observation [E, 51] -> joint targets [E, 19], rad.

    Its memory is inside the module, for one robot; so every robot has a copy.
    """

    def __init__(self, path: Path, speed: float) -> None:
        self.module, self.speed = torch.jit.load(str(path)).eval(), speed
        self.robots: list[Any] = []
        self.steps = 0

    @torch.no_grad()
    def __call__(self, observation: np.ndarray, _task: np.ndarray) -> np.ndarray:
        rows = len(observation)
        if not self.robots:
            self.robots = [copy.deepcopy(self.module) for _ in range(rows)]
            self.action = np.zeros((rows, 10))
        qpos, qvel = observation[:, :26], observation[:, 26:51]
        self.steps += 1
        phase = 2 * np.pi * (self.steps * h1.CONTROL_DT % PERIOD) / PERIOD
        command = np.array([self.speed, 0.0, 0.0]) * COMMAND
        seen = np.concatenate(
            [
                qvel[:, 3:6] * RATE,
                gravity_of(qpos[:, 3:7]),
                np.tile(command, (rows, 1)),
                qpos[:, 7:17] - POSE,
                qvel[:, 6:16] * SPEED,
                self.action,
                np.tile([np.sin(phase), np.cos(phase)], (rows, 1)),
            ],
            axis=1,
        ).astype(np.float32)
        batch = torch.from_numpy(seen)
        for row, robot in enumerate(self.robots):
            self.action[row] = robot(batch[row : row + 1]).numpy().squeeze()
        target = np.tile(h1.DEFAULT_POSE, (rows, 1))
        target[:, LEGS] = self.action * ACTION + POSE
        return target


def our_walk(policy: OnnxPolicy) -> Make:
    """Return our student, told to walk whatever the number of the task in a table of one."""
    make, number = student_maker(policy.spec, policy.infer), policy.spec.tasks.index("walk")

    def maker(condition: Condition, seed: int) -> ActFunction:
        act = make(condition, seed)
        return lambda observation, task: act(observation, np.full_like(task, number))

    return maker


def compare(config: VendorConfig) -> dict[str, Any]:
    """Return each walker's figures by condition, and its push curve."""
    ours = OnnxPolicy(Path(config.policy))
    randomised = conditions(RolloutConfig(delay_substeps=(0, config.delay)))["randomised"]
    late = Condition("late", (config.delay, config.delay))
    walkers: dict[str, Any] = {"ours": (our_walk(ours), H1Env)}
    for speed in config.speeds:
        walkers[f"vendor at {speed:g}"] = (
            lambda _condition, _seed, speed=speed: VendorWalk(Path(config.vendor), speed),
            VendorEnv,
        )
    found: dict[str, Any] = {}
    for name, (make, world) in walkers.items():
        cells: dict[str, Any] = {}
        for condition in (CLEAN, late, randomised):
            cell = measure(
                make(condition, config.seed), ["walk"], action_map=ours.spec.action_map,
                condition=condition, episodes=config.episodes, steps=config.steps,
                seed=config.seed, world=world,
            )["walk"]  # fmt: skip
            cells[condition.name] = {
                key: cell[key]
                for key in ("mean", "std", "falls", "speed", "power", "torque", "transport")
            }
            print(line(name, condition.name, cells[condition.name]), flush=True)
        curve = push_curve(
            make(CLEAN, config.seed), ["walk"], config.sizes, action_map=ours.spec.action_map,
            episodes=config.episodes, seed=config.seed, world=world,
        )["walk"]  # fmt: skip
        cells["pushes"] = {
            str(point["size"]): [point["recovered"], point["pushed"]] for point in curve
        }
        shares = "  ".join(f"{size}: {a}/{b}" for size, (a, b) in cells["pushes"].items())
        print(f"{name:14} still up after a push of m/s  {shares}", flush=True)
        found[name] = cells
    return found


def line(name: str, condition: str, cell: dict[str, Any]) -> str:
    """Return one line of the table."""
    return (
        f"{name:14} {condition:11} return {cell['mean']:6.1f} ± {cell['std']:5.1f}  falls "
        f"{cell['falls']:2d}  {cell['speed']:.2f} m/s  {cell['power']:4.0f} W  "
        f"{cell['torque']:.0f} N m"
    )


def main() -> int:
    words = sys.argv[1:]
    if any(word in ("-h", "--help") for word in words):
        print(__doc__, *describe(VendorConfig()), sep="\n")
        return 0
    if words and "=" not in words[0]:
        words[0] = f"vendor={words[0]}"
    try:
        config = choose(words, {"walk": VendorConfig()}, "walk")
        if not Path(config.vendor).is_file():
            raise ConfigError(
                f"vendor={config.vendor!r} is no file; see --help for where it is from"
            )
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    found = compare(config)
    facts = {"episodes": config.episodes, "seed": config.seed, "commit": git_sha()}
    print(json.dumps({"compare": "walk", **found, **facts}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
