"""One round of DAgger: drive robots with a mixture of teacher and student, label every state.

The student's observations come from `runtime.observation.observe`, the code the robot runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from distill.config import NO_NOISE, NoiseConfig, RolloutConfig
from distill.teacher import Guide
from runtime.observation import Memory, observe, remember
from runtime.spec import PolicySpec
from runtime.state import Command, RobotState, state_from_generalized
from training.h1_env import H1Env
from training.handover import sources
from training.limits import spread
from training.randomization import MODERATE, Randomization

Infer = Callable[[np.ndarray], np.ndarray]  # observations [B, N] -> actions [B, 19]


@dataclass(frozen=True)
class Chunk:
    """Labelled states; every task has equally many."""

    observation: np.ndarray  # [M, N] float32, the student's
    labels: dict[str, np.ndarray]  # by name, see distill/targets.py; each [M, ...] float32
    task: np.ndarray  # [M] int64
    held: np.ndarray  # [M] bool: for validation only
    lasting: np.ndarray  # [M] bool: `rows` further on is the same episode's next step
    rows: int  # robots side by side
    falls: int
    returns: np.ndarray  # [T] mean reward per step of each task times 1000


class Senses:
    """What the student perceives of a batch of robots, sensor errors included."""

    def __init__(
        self,
        spec: PolicySpec,
        task: np.ndarray,
        noise: NoiseConfig,
        seed: list[int],
        exact: np.ndarray | None = None,
    ):
        """`exact`: rows [E] whose sensors err in nothing."""
        self.spec, self.task, self.noise = spec, task, noise
        self.erring = np.ones(len(task)) if exact is None else 1.0 - exact
        self.memory = Memory.create(spec, batch_shape=task.shape)
        self.random = np.random.default_rng(seed)
        self.bias = np.zeros((len(task), 3))
        self.reset(np.ones(len(task), bool))

    def reset(self, rows: np.ndarray, like: np.ndarray | None = None) -> None:
        """Begin new episodes in the rows of a mask [E].

        like: [E], whose memory a row goes on with, -1: nobody's. At a change of task a policy keeps
        what it felt and did.
        """
        self.memory.reset(rows)
        self.bias[rows] = self.random.normal(0.0, self.noise.tilt_bias, (int(rows.sum()), 3))
        if like is not None:
            taking = np.flatnonzero(rows & (like >= 0))
            self.memory.imitate(taking, like[taking])

    def observe(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Return observations [E, N] of generalised positions [E, 26] and velocities [E, 25]."""
        state = self._disturb(state_from_generalized(qpos, qvel))
        return observe(state, Command(self.task), self.spec, self.memory)

    def act(self, action: np.ndarray) -> None:
        """Take note of the actions [E, 19] that were sent."""
        remember(self.memory, action)

    def _disturb(self, state: RobotState) -> RobotState:
        noise = self.noise
        if noise == NO_NOISE:
            return state
        bias = self.bias * self.erring[:, None]
        tilt = bias + self._error(noise.tilt, state.angular_velocity)
        return replace(
            state,
            orientation=rotate(state.orientation, tilt),
            angular_velocity=state.angular_velocity
            + self._error(noise.angular_velocity, state.angular_velocity),
            joint_position=state.joint_position
            + self._error(noise.joint_position, state.joint_position),
            joint_velocity=state.joint_velocity
            + self._error(noise.joint_velocity, state.joint_velocity),
        )

    def _error(self, scale: float, like: np.ndarray) -> np.ndarray:
        if not scale:
            return np.zeros(like.shape)
        return self.random.normal(0.0, scale, like.shape) * self.erring[:, None]


def rotate(orientation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Turn quaternions [..., 4] w x y z by small rotation vectors [..., 3] in their own frame."""
    w, v = orientation[..., :1], orientation[..., 1:]
    half = 0.5 * vector
    turned = np.concatenate(
        [w - (v * half).sum(-1, keepdims=True), v + w * half + np.cross(v, half)], axis=-1
    )
    return turned / np.linalg.norm(turned, axis=-1, keepdims=True)


def beta(number: int, rounds: int) -> float:
    """Return the teacher's share of round `number`: 1 at 0, falling linearly to 0 at `rounds`."""
    return max(0.0, 1.0 - number / rounds) if rounds else 0.0


class Drivers:
    """Who drives each row, and how unsteadily."""

    def __init__(self, rows: int, share: float, config: RolloutConfig, random: np.random.Generator):
        self.share, self.config, self.random = share, config, random
        self.teacher = np.zeros(rows, bool)
        self.scale = np.zeros((rows, 1))
        self.reset(np.ones(rows, bool))

    def reset(self, rows: np.ndarray) -> None:
        """Draw driver and noise of new episodes in the rows of a mask [E]."""
        count = int(rows.sum())
        self.teacher[rows] = self.random.random(count) < self.share
        scale = self.random.uniform(0.0, self.config.action_noise, (count, 1))
        self.scale[rows] = np.where(self.random.random((count, 1)) < self.config.quiet, 0.0, scale)

    def choose(self, label: np.ndarray, student: np.ndarray) -> np.ndarray:
        """Return the actions [E, 19] to execute."""
        teacher = self.teacher
        if self.config.mix == "step":
            teacher = self.random.random(len(label)) < self.share
        action = np.where(teacher[:, None], label, student)
        noise = self.random.normal(size=action.shape) * self.scale
        return np.clip(action + noise, -1.0, 1.0).astype(np.float32)


def collect(
    teacher: Guide,
    spec: PolicySpec,
    infer: Infer | None,
    config: RolloutConfig,
    wanted: Sequence[str],
    *,
    number: int,
    seed: int,
) -> Chunk:
    """Drive and label `config.steps` control steps of every row; `infer` None: teacher alone.

    wanted: names of labels; the first is what the teacher drives with. A round depends on its
    arguments alone: environments and generators are derived from (seed, number).
    """
    tasks, each = len(teacher.tasks), config.envs_per_task
    task = np.repeat(np.arange(tasks), each)
    own = spread(each, config.nominal)  # of each task's rows, the benchmark's own robot
    nominal = np.tile(own, tasks)
    env = H1Env(
        [teacher.tasks[i] for i in task],
        seed=10_000 * (1 + seed) + number,
        action_map=teacher.action_map,
        max_steps=np.resize(config.episode_steps, len(task)).tolist(),
        delay_substeps=config.delay_substeps,
        randomize=others(config),
        nominal=nominal,
        guarded=np.tile(spread(each, config.guarded, besides=own), tasks),
        reset_noise=config.start_noise,
    )
    generator = torch.Generator().manual_seed(10_000 * (1 + seed) + number)
    random = np.random.default_rng([seed, number, 1])
    share = beta(number, config.beta_rounds) if infer else 1.0
    drivers = Drivers(env.num_envs, share, config, random)
    senses = Senses(spec, task, config.noise, [seed, number, 2], exact=nominal)
    observations = np.empty((config.steps, env.num_envs, spec.observation_size), np.float32)
    kept: list[dict[str, np.ndarray]] = []
    lasting = np.ones((config.steps, env.num_envs), bool)
    falls, rewards = 0, np.zeros(env.num_envs)
    privileged = env.reset()
    for step in range(config.steps):
        seen = senses.observe(env.qpos, env.qvel)
        labels = teacher.labels(privileged, task, generator, wanted)
        if not all(np.isfinite(label).all() for label in labels.values()):
            raise FloatingPointError(f"the teacher's label of step {step} is not finite")
        action = drivers.choose(labels[wanted[0]], infer(seen) if infer else labels[wanted[0]])
        observations[step] = seen
        kept.append(labels)
        senses.act(action)
        result = env.step(action)
        privileged = result.obs
        rewards += result.reward
        falls += int(result.terminated.sum())
        over = result.terminated | result.truncated
        if over.any():
            lasting[step] = ~over
            like = sources(env, over, config.handover, random)
            privileged = env.reset(over, like)
            senses.reset(over, like)
            drivers.reset(over)
    lasting[-1] = False
    env.close()
    return Chunk(
        observation=observations.reshape(-1, spec.observation_size),
        labels={
            name: np.concatenate([labels[name] for labels in kept]).astype(np.float32)
            for name in wanted
        },
        task=np.tile(task, config.steps),
        held=np.tile(held_rows(task, config.held), config.steps),
        lasting=lasting.reshape(-1),
        rows=env.num_envs,
        falls=falls,
        returns=rewards.reshape(tasks, -1).mean(1) * 1000.0 / config.steps,
    )


def others(config: RolloutConfig) -> Randomization | None:
    """Return how the robots differ that are not the benchmark's own, and how they are pushed."""
    if not config.randomize:
        return None
    push = (-config.push_speed, config.push_speed)
    return replace(MODERATE, push_speed=push, push_interval=config.push_interval)


def held_rows(task: np.ndarray, share: float) -> np.ndarray:
    """Return which rows [E] are for validation: the last of each task, at least one if any."""
    count = np.bincount(task)[0]
    held = min(int(np.ceil(share * count)), count - 1)
    return np.tile(np.arange(count) >= count - held, len(task) // count)
