"""A run's own episodes, written down for the `demos=` of another run (`record=true`).

RUN/episodes/<updates>.safetensors holds what was collected in the segment that ended there, in the
format of `training/demos.py`; the label of a frame is the action that was executed. Rewards and
actions are those of the task whose robot it was, also where experience is shared.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training import demos
from training.collector import Moment
from training.config import TrainConfig
from training.demo_frames import columns_of
from training.suites import robot

Frame = tuple[np.ndarray, np.ndarray, np.ndarray, float, bool, bool]  # in the order of FIELDS


class Recorder:
    """The open and the closed episodes of a segment's rows."""

    def __init__(self, config: TrainConfig, task: np.ndarray):
        """Begin with no episode; task [R] is the index of each row's task."""
        self.config, self.task = config, task
        self.open: list[list[Frame]] = [[] for _ in task]
        self.closed: list[list[Frame]] = [[] for _ in config.tasks]  # frames of each task
        self.faulty = np.zeros(len(task), bool)

    def add(self, moment: Moment) -> None:
        """Take one step of every row."""
        self.faulty = moment.fault != ""
        steps = zip(moment.observation, moment.action, moment.reward, strict=True)
        for frames, (observation, action, reward) in zip(self.open, steps, strict=True):
            frames.append((observation, action, action, float(reward), False, False))

    def cut(self, rows: np.ndarray, observation: np.ndarray, terminated: np.ndarray) -> None:
        """Close the episodes of `rows` [R] bool, which end with observations [R, O].

        Those that a fault ended, the simulation's breakdown or NaN, are left out.
        """
        for row in np.flatnonzero(rows):
            frames, self.open[row] = self.open[row], []
            if frames and not self.faulty[row]:
                none = np.zeros_like(frames[0][1])
                end = (observation[row], none, none, 0.0, True, bool(terminated[row]))
                self.closed[self.task[row]] += [*frames, end]

    def write(self, path: Path, facts: dict[str, str]) -> None:
        """Write all closed episodes to one file; none: no file."""
        episodes = {
            name: columns_of(frames)
            for name, frames in zip(self.config.tasks, self.closed, strict=True)
            if frames
        }
        if not episodes:
            return
        own = {
            "action_map": self.config.collect.action_map,
            "observation": self.config.collect.observation,
            "robot": robot(self.config.tasks[0]),
            "suite": self.config.suite,
            "seed": str(self.config.seed),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        demos.write(path, episodes, own | facts)
