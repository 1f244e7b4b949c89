"""Acting: step the rows of an environment with the planner, and say what happened.

Runs wherever there is a network: in the learner's process, or in an actor on another machine
(`training/actors.py`). Knows no replay and no learner.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from training import faults, schedules
from training.config import TrainConfig
from training.evaluation import Env, MakeEnv
from training.features import see
from training.h1_env import H1Env
from training.planner import PlannerConfig, plan
from training.randomization import Randomization
from training.rows import Step
from training.tasks import task
from training.world_model import WorldModel

PELVIS_HEIGHT = 2  # column of HumanoidBench's observation, m
FIRST = "column {} of the first observation"


@dataclass(frozen=True)
class Duty:
    """The rows of the environment that someone steps for a segment."""

    task: np.ndarray  # [R] index of each row's task, ascending
    spread: np.ndarray  # [R] multiple of collect.noise
    step_limit: np.ndarray  # [R] control steps of an episode

    @classmethod
    def of(cls, config: TrainConfig, task: np.ndarray, step_limit: np.ndarray | int) -> Duty:
        """Return the duty of all rows; the noise of a task's rows is spread evenly in the log.

        `step_limit`: control steps of an episode, of every row [R] or of all.
        """
        spread, counts = config.collect.noise_spread, np.bincount(task)
        rows = [np.geomspace(1 / spread, spread, count) for count in counts]
        return cls(task, np.concatenate(rows), np.broadcast_to(step_limit, task.shape))

    def split(self, parts: int) -> list[Duty]:
        """Return `parts` duties of neighbouring rows, as even as can be."""
        fields = (self.task, self.spread, self.step_limit)
        shares = [np.array_split(field, parts) for field in fields]
        return [Duty(*share) for share in zip(*shares, strict=True)]


@dataclass(frozen=True)
class Moment:
    """One step of R rows."""

    observation: np.ndarray  # [R, O] before the step, as the networks see it
    action: np.ndarray  # [R, A] to be stored
    reward: np.ndarray  # [R]
    rewards: np.ndarray  # [R, T] what every task gives for it; [R, 0] if experience is not shared
    end: np.ndarray  # [R, O] after the step, also where the episode is over
    terminated: np.ndarray  # [R] bool: the episode ended for good
    done: np.ndarray  # [R] bool: it ended, for good or not
    failed: np.ndarray  # [R] bool: because the simulation broke down
    fault: np.ndarray  # [R] str: why nothing must be learnt from the episode's end, "" if it may
    following: np.ndarray  # [R, O] what the next step begins with
    ms_act: np.ndarray  # [R] of the whole step
    ms_env: np.ndarray  # [R]


def join(parts: Sequence[Moment]) -> Moment:
    """Return one moment with the rows of all."""
    names = [item.name for item in dataclasses.fields(Moment)]
    return Moment(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


def open_env(make_env: MakeEnv, config: TrainConfig, duty: Duty, seed: int) -> Env:
    """Return fresh environments for the rows of a duty."""
    collect, ranges = config.collect, config.collect.randomization
    different = {} if ranges == Randomization() else {"randomize": ranges}
    return make_env(
        [config.tasks[i] for i in duty.task],
        seed=seed,
        action_map=collect.action_map,
        threads=collect.threads,
        terminate=collect.terminate,
        max_steps=duty.step_limit,
        delay_substeps=collect.delay_substeps,
        **different,
    )


class Collector:
    """Steps the rows of a duty with the acting weights, which someone else keeps up to date."""

    def __init__(
        self,
        config: TrainConfig,
        model: WorldModel,
        planner: PlannerConfig,
        duty: Duty,
        env: Env,
        rng: np.random.Generator,
        generator: torch.Generator,
    ):
        self.config, self.model, self.planner, self.duty, self.env = (
            config, model, planner, duty, env,
        )  # fmt: skip
        self.rng, self.generator = rng, generator
        self.observation, self.begun = self._look(env.reset(), FIRST)

    def step(self, random: bool, progress: float) -> Moment:
        """One step of every row, at random or as planned; `progress` is that of the run, 0..1.

        Raises:
            FloatingPointError: no row has a finite action.
        """
        collect = self.config.collect
        began = time.perf_counter()
        action = self.random_action() if random else self.planned_action(progress)
        acted = time.perf_counter()
        senseless = np.logical_not(np.isfinite(action).all(axis=1))
        if senseless.all():
            raise FloatingPointError("no row's action is finite: the networks are broken")
        step = self.env.step(action)
        rewards = self._rewards(step)
        action = np.where(senseless[:, None], np.float32(0), action)  # as the environment does
        if random and collect.random_stores == "planned":
            action = self.planned_action(progress)
        observation, rows = self.observation, len(self.duty.task)
        failed = np.zeros(rows, bool) if step.failed is None else step.failed
        end, fault = self._look(step.obs, "column {} of the observation")
        fault = faults.first_of(
            self.begun, np.where(failed, "the simulation broke down", ""), fault,
            faults.not_finite(step.reward[:, None], "the reward"),
            faults.not_finite(rewards, "the reward of task {}"),
        )  # fmt: skip
        lost = fault != ""
        end[lost] = observation[lost]  # what came instead is nothing to learn from
        reward = np.where(lost, np.float32(0), step.reward)
        rewards[lost] = 0.0
        self.observation, self.begun = end, np.full(rows, "")
        low = step.obs[:, PELVIS_HEIGHT] < collect.fall_height
        terminated = step.terminated | low if collect.fall_height else step.terminated
        terminated = terminated & ~lost
        done = terminated | step.truncated | lost
        if done.any():
            self.observation, self.begun = self._look(self.env.reset(done), FIRST)
        stepped = time.perf_counter()
        return Moment(
            observation, action, reward, rewards, end, terminated, done, failed, fault,
            self.observation,
            np.full(rows, 1e3 * (acted - began)), np.full(rows, 1e3 * (stepped - acted)),
        )  # fmt: skip

    def _look(self, raw: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Return what the networks see [R, O], 0 where a row is not finite, and its faults [R]."""
        with np.errstate(invalid="ignore"):
            seen = see(self.config.collect.observation, raw).copy()  # a reset may overwrite
        fault = faults.first_of(faults.not_finite(raw, what), faults.not_finite(seen, what))
        seen[fault != ""] = 0.0
        return seen, fault

    def _rewards(self, step: Step) -> np.ndarray:
        """Return what every task gives for this step, [R, T], if experience is shared."""
        if not self.config.replay.shared:
            return np.zeros((len(self.duty.task), 0), np.float32)
        assert isinstance(self.env, H1Env)  # as the configuration demands
        readings = self.env.readings()
        rewards = np.stack([task(n).reward(readings)[0] for n in self.config.tasks], axis=1)
        broken = False if step.failed is None else step.failed[:, None]
        return np.where(broken, 0.0, rewards).astype(np.float32)

    def random_action(self) -> np.ndarray:
        """Return uniform actions [R, A] within collect.random_scale."""
        scale = self.config.collect.random_scale
        shape = (len(self.duty.task), self.model.action_mask.shape[1])
        return (scale * self.rng.uniform(-1.0, 1.0, shape)).astype(np.float32)

    def planned_action(self, progress: float) -> np.ndarray:
        """Return what the search chooses [R, A], with exploration noise."""
        collect, device = self.config.collect, self.model.action_mask.device
        result = plan(
            self.model,
            torch.from_numpy(self.observation).to(device),
            torch.from_numpy(self.duty.task).to(device),
            self.planner,
            self.generator,
        )
        noise = schedules.linear(collect.noise, collect.noise_end, progress)
        action = result.action.float().cpu().numpy()
        if noise:
            scale = noise * self.duty.spread[:, None]
            action = action + scale * self.rng.standard_normal(action.shape)
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def close(self) -> None:
        """Close the environments."""
        self.env.close()
