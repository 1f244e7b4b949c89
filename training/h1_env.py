"""The batched H1 environment: one row per task name, all rows advanced by one call.

Observation, reward, termination, start state and timing are HumanoidBench's (the tests hold its
figures), except where an argument says otherwise. Nothing resets by itself: who calls `step`
decides when to call `reset`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime import h1
from training import physics
from training.assembly import build_model
from training.limits import REAL, Limits
from training.randomization import Randomization, Senses
from training.rewards import Readings
from training.rows import (
    Bools,
    Float32,
    Step,
    as_actions,
    control_map,
    mask,
    row_generators,
    rows_of,
)
from training.scenes import SCENES
from training.tasks import REACH_HIGH, REACH_LOW, ROBOT_SIZE, observation_size, task


class H1Env:
    """E robots, each with its own task and its own random generator."""

    action_dim = h1.NUM_JOINTS

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        seed: int | Sequence[int],
        action_map: str = "benchmark",
        threads: int = 1,
        terminate: bool = True,
        max_steps: int | Sequence[int] = 1000,
        delay_substeps: tuple[int, int] = (0, 0),
        randomize: Randomization | None = None,
        reset_noise: float = physics.RESET_NOISE,
        nominal: Bools | None = None,
        guarded: Bools | None = None,
        limits: Limits = REAL,
    ) -> None:
        """Build one row per entry of `tasks`; names may repeat.

        `seed`: an int gives row i default_rng([seed, i]), a sequence gives it default_rng(seed[i]).
        `terminate=False` ignores the tasks' termination rules. `max_steps` truncates, per row if a
        sequence. `delay_substeps=(lo, hi)`: drawn per episode; a new control acts so many physics
        sub-steps late (0 .. 10). `randomize`: another robot in every episode, other senses, pushes;
        its `latency`, where not (0, 0), replaces `delay_substeps`. `nominal`: rows [E] that are
        spared both, delay and randomisation. `guarded`: rows [E] under a real robot's `limits`.
        """
        if not tasks:
            raise ValueError("H1Env needs at least one task name")
        if randomize and tuple(randomize.latency) != (0, 0):
            delay_substeps = randomize.latency
        low, high = delay_substeps
        if not 0 <= low <= high <= physics.SUBSTEPS:
            raise ValueError(
                f"delay_substeps must satisfy 0 <= lo <= hi <= {physics.SUBSTEPS}, "
                f"got {delay_substeps}"
            )
        self.tasks = tuple(task(name) for name in tasks)
        self.task_names = tuple(tasks)
        self.num_envs = len(tasks)
        self.obs_dim = observation_size(tasks)
        self.terminate = terminate
        self.max_steps = np.broadcast_to(np.asarray(max_steps, dtype=np.int64), (self.num_envs,))
        self.generators = row_generators(seed, self.num_envs)
        # Draw goals and places. Upstream takes those from numpy's global generator; so may a caller
        # who puts a RandomState here.
        self.placers: list[np.random.Generator | np.random.RandomState] = [*self.generators]
        self._delay_range, self._reset_noise = delay_substeps, reset_noise
        self.control = control_map(action_map)
        self.randomize = randomize
        self._senses: Senses | None = None
        if randomize and randomize.disturbs_senses:
            self._senses = Senses(randomize, self.num_envs)
        self._spared = mask("nominal", nominal, self.num_envs)
        self._guarded, self._limits = mask("guarded", guarded, self.num_envs), limits
        self._build(threads)
        self.physics.guard(self._guarded, limits)
        self._count_from_zero()
        self.reset()

    def _build(self, threads: int) -> None:
        """Compile every scene once; a robot that is randomised has a model of its own."""
        scenes = [entry.scene for entry in self.tasks]
        models = {scene: build_model(scene) for scene in set(scenes)}
        self._nominal = [models[scene] for scene in scenes]
        own = [copy.copy(model) for model in self._nominal] if self.randomize else self._nominal
        self.physics = physics.Physics(own, scenes, threads=threads)
        self._groups = [
            (entry, rows_of(entry.name, self.task_names))
            for entry in {entry.name: entry for entry in self.tasks}.values()
        ]
        self._long = [
            row for row, entry in enumerate(self.tasks) if entry.observation_size > ROBOT_SIZE
        ]

    def _count_from_zero(self) -> None:
        """Begin the books of the rows: what an episode remembers, and what was counted."""
        self.goal = np.zeros((self.num_envs, 3))  # m, of reach
        self.stage = np.zeros(self.num_envs, dtype=np.int64)  # of the maze
        self.diverged = 0  # episodes so far that a breakdown or an action not finite has ended
        self._broken = np.zeros(self.num_envs, dtype=bool)  # counted already
        self._steps = np.zeros(self.num_envs, dtype=np.int64)
        self._delay = np.zeros(self.num_envs, dtype=np.int64)
        self._next_push = np.full(self.num_envs, 2**62)
        self._previous = np.tile(h1.DEFAULT_POSE, (self.num_envs, 1))

    @property
    def qpos(self) -> NDArray[np.float64]:
        """The robots' positions [E, 26]; overwritten by the next step."""
        return self.physics.qpos

    @property
    def qvel(self) -> NDArray[np.float64]:
        """The robots' velocities [E, 25]; overwritten by the next step."""
        return self.physics.qvel

    def reset(self, rows: np.ndarray | None = None, like: np.ndarray | None = None) -> Float32:
        """Begin a new episode in the given rows and return all rows' obs [E, O].

        `rows` is a bool mask [E] or indices; all rows if None. `like` [E]: the row in whose state
        each of them begins, -1: its own start; that row must not begin anew itself.
        """
        indices = np.arange(self.num_envs) if rows is None else np.asarray(rows)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        for row in indices.tolist():
            self._reset_row(row)
        self._steps[indices], self._broken[indices] = 0, False
        self._previous[indices] = h1.DEFAULT_POSE
        if like is not None:
            for row in indices[like[indices] >= 0].tolist():
                other = int(like[row])
                self.physics.imitate(row, other, self._previous[other])
                self._previous[row] = self._previous[other]
        self.physics.gather()
        return self._observe()

    def _reset_row(self, row: int) -> None:
        """Draw the start state first, so that it depends on the seed alone, then the rest."""
        generator, world = self.generators[row], self.physics
        start = SCENES[self.tasks[row].scene].pelvis
        noise = world.noise(row, generator, self._reset_noise)
        spared = bool(self._spared[row])
        if self._delay_range[1] and not spared:
            self._delay[row] = generator.integers(*self._delay_range, endpoint=True)
        if self.randomize and not spared:
            nominal, own = self._nominal[row], world.models[row]
            self.randomize.apply(own, nominal, world.data[row], generator)
            self._next_push[row] = self.randomize.steps_to_push(generator, h1.CONTROL_DT)
        world.reset(row, start, noise)
        self._place(row, self.placers[row])
        if self._senses and not spared:
            self._senses.begin(row, generator)

    def _place(self, row: int, draw: np.random.Generator | np.random.RandomState) -> None:
        """Begin what a task keeps track of, and draw where the hand shall go, the robot stands."""
        self.stage[row] = 0
        if self.tasks[row].place == "goal":
            self.goal[row] = draw.uniform(REACH_LOW, REACH_HIGH)
        elif self.tasks[row].place == "pose":
            x, y, yaw = draw.uniform(0.2, 0.4), draw.uniform(-0.15, 0.15), draw.uniform(-1.8, 1.8)
            self.physics.place(row, x, y, yaw)

    def _push(self) -> None:
        """Push the robots whose time has come."""
        for row in np.flatnonzero(self._steps == self._next_push).tolist():
            assert self.randomize is not None
            generator = self.generators[row]
            self.physics.data[row].qvel[:2] += self.randomize.push(generator)
            pause = self.randomize.steps_to_push(generator, h1.CONTROL_DT)
            self._next_push[row] += pause

    def step(self, action: np.ndarray) -> Step:
        """Apply action [E, 19], in [-1, 1] of the action map, for one control step of 0.02 s.

        Where an action is not finite, or the simulation breaks down, the episode ends: `failed`
        there, counted in `diverged`; the other rows go on.
        """
        action = as_actions(action, (self.num_envs, self.action_dim))
        senseless: Bools = np.logical_not(np.isfinite(action).all(axis=1))
        if senseless.any():
            action = np.where(senseless[:, None], np.float32(0), action)
        control = self.control(action)
        if self._guarded.any():
            control = np.where(self._guarded[:, None], self._limits.clip(control), control)
        if self.randomize:
            self._push()
        self.physics.step(control, self._previous, self._delay)
        self._previous = control
        self._steps += 1
        reward, terminated, terms = self._judge()
        if self.terminate and self._guarded.any():
            leaning = self._limits.leaning(self.physics.qpos[:, 3:7])
            terminated |= self._guarded & (leaning | self.physics.too_fast)
        truncated = self._steps >= self.max_steps
        diverged = self.physics.diverged() | senseless
        if self._senses:
            for row, generator in enumerate(self.generators):
                if not self._spared[row]:
                    self._senses.feel(row, generator)
        obs = self._observe()
        if diverged.any():
            self.diverged += int((diverged & ~self._broken).sum())
            self._broken |= diverged
            reward[diverged], terminated[diverged], obs[diverged] = 0.0, True, 0.0
            for values in terms.values():
                values[diverged] = 0.0
            return Step(obs, reward, terminated, truncated, terms, diverged)
        return Step(obs, reward, terminated, truncated, terms)

    def observation(self, row: int) -> NDArray[np.float64]:
        """Return one row's observation [O of its task], undisturbed, in full precision, float64."""
        state = self.physics.state(row)
        if self.tasks[row].place != "goal":
            return state
        hand = self.physics.sensors[row, physics.LEFT_HAND_POSITION]
        return np.concatenate([state, hand, self.goal[row]])

    def close(self) -> None:
        """Stop the threads."""
        self.physics.close()

    def _observe(self) -> Float32:
        obs = np.zeros((self.num_envs, self.obs_dim), dtype=np.float32)
        obs[:, : physics.NUM_QPOS] = self.physics.qpos
        obs[:, physics.NUM_QPOS : physics.NUM_QPOS + physics.NUM_QVEL] = self.physics.qvel
        for row in self._long:
            obs[row, : self.tasks[row].observation_size] = self.observation(row)
        if self._senses:
            qpos, qvel = self._senses.perceive(self.physics.qpos, self.physics.qvel)
            obs[:, : physics.NUM_QPOS] = qpos
            for row, model in enumerate(self.physics.models):
                obs[row, model.nq : model.nq + physics.NUM_QVEL] = qvel[row]
        return obs

    def _judge(self) -> tuple[Float32, Bools, dict[str, Float32]]:
        """Return reward [E], terminated [E] and the reward's terms, task by task."""
        reward = np.zeros(self.num_envs, dtype=np.float32)
        terminated = np.zeros(self.num_envs, dtype=bool)
        terms: dict[str, Float32] = {}
        for entry, rows in self._groups:
            readings = self.readings(rows)
            reward[rows], parts = entry.reward(readings)
            if self.terminate:
                terminated[rows] = entry.terminated(readings)
            if entry.next_stage:
                self.stage[rows] = entry.next_stage(readings)
            for name, values in parts.items():
                if name not in terms:
                    terms[name] = np.full(self.num_envs, np.nan, dtype=np.float32)
                terms[name][rows] = values
        return reward, terminated, terms

    def readings(self, rows: slice | NDArray[np.int64] = slice(None)) -> Readings:
        """Return what the rewards of these rows see now."""
        sensors = self.physics.sensors[rows]
        return Readings(
            qpos=self.physics.qpos[rows],
            qvel=self.physics.qvel[rows],
            com_velocity=sensors[:, physics.COM_VELOCITY],
            head_height=sensors[:, physics.HEAD_HEIGHT],
            upright=sensors[:, physics.UPRIGHT],
            torque=sensors[:, physics.TORQUE],
            imu=sensors[:, physics.IMU_POSITION],
            feet_height=sensors[:, physics.FEET_HEIGHT],
            hand=sensors[:, physics.LEFT_HAND_POSITION],
            scene=self.physics.scene[rows],
            touching=self.physics.touching[rows],
            goal=self.goal[rows],
            stage=self.stage[rows],
        )
