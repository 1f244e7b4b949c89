"""What the studies compare, and the rounds in which candidates share robots, states and searches.

Knows no teacher's kind and no measurement.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distill.config import NO_NOISE, DistillConfig, ReportConfig, StudentConfig
from distill.export import export
from distill.fit import Dataset, fit
from distill.report import latency
from distill.rollouts import Chunk, collect
from distill.student import Student, make_spec, make_student
from distill.symmetry import Mirror
from distill.targets import TARGETS
from distill.teacher import Guide
from runtime.policy import OnnxPolicy
from runtime.spec import PolicySpec
from training.h1_env import H1Env

Changes = tuple[tuple[str, Any], ...]  # fields of a configuration that a candidate replaces


@dataclass(frozen=True)
class Candidate:
    """One way to make a student; what is not named is as the study's configuration says."""

    name: str
    target: str = ""
    student: Changes = ()
    fit: Changes = ()
    rollout: Changes = ()


_SIZES: list[tuple[str, int, tuple[int, ...]]] = [
    ("1 x 256x256", 1, (256, 256)),
    ("4 x 256x256", 4, (256, 256)),
    ("8 x 256x256", 8, (256, 256)),
    ("16 x 256x256", 16, (256, 256)),
    ("8 x 64x64", 8, (64, 64)),
    ("8 x 128x128", 8, (128, 128)),
    ("8 x 512x256x128", 8, (512, 256, 128)),
]
_CLEAN: Changes = (("randomize", False), ("noise", NO_NOISE), ("delay_substeps", (0, 3)))

CANDIDATES: dict[str, tuple[Candidate, ...]] = {
    "targets": (
        *(Candidate(name, target=name) for name in TARGETS),
        Candidate("best + value", target="best", fit=(("value", 0.1),)),
    ),
    "sizes": tuple(
        Candidate(name, student=(("history", history), ("hidden", hidden)))
        for name, history, hidden in _SIZES
    ),
    "options": (
        Candidate("mirror", fit=(("mirror", True),)),
        Candidate("no mirror", fit=(("mirror", False),)),
        Candidate("smooth 0.1", fit=(("smooth", 0.1),)),
        Candidate("smooth 1", fit=(("smooth", 1.0),)),
        Candidate("huber", fit=(("loss", "huber"),)),
    ),
    "rollouts": (
        Candidate("as before", rollout=_CLEAN),
        Candidate("delay", rollout=(*_CLEAN[:2], ("delay_substeps", (0, 10)))),
        Candidate("all"),
    ),
}


@dataclass
class Pupil:
    """A candidate's student while it learns."""

    candidate: Candidate
    config: DistillConfig
    spec: PolicySpec
    student: Student
    columns: torch.Tensor  # of the widest candidate's observation
    losses: dict[str, float] = field(default_factory=dict)
    seen: np.ndarray | None = None  # the last states, as this student sees them

    @property
    def wanted(self) -> tuple[str, ...]:
        """The labels it is fitted to, the action first."""
        target = self.config.label.target
        spread = ("std",) if target == "gaussian" else ()
        return (target, *spread, *(("value",) if self.config.fit.value else ()))

    def describe(self, folder: Path, settings: ReportConfig) -> dict[str, Any]:
        """Export it and return its size, speed and error on held-out episodes."""
        assert self.seen is not None
        path = folder / f"{self.candidate.name.replace(' ', '_').replace('+', 'and')}.onnx"
        export(self.student, self.spec, self.seen, path)
        held = [value for key, value in self.losses.items() if key.startswith("held_rms")]
        return {
            "weights": sum(x.numel() for x in self.student.parameters()),
            "inputs": self.spec.observation_size,
            "us": latency(OnnxPolicy(path), settings.latency_calls)["p50_us"],
            "rms": float(np.mean(held)) if held else float("nan"),
        }


class Shared:
    """The rounds of one group of candidates."""

    def __init__(self, config: DistillConfig, teacher: Guide, group: list[Candidate]) -> None:
        self.teacher = teacher
        self.config = dataclasses.replace(
            config, rollout=_replaced(config.rollout, group[0].rollout)
        )
        students = {entry.name: _replaced(config.student, entry.student) for entry in group}
        depth = max(student.history for student in students.values())
        self.spec = self._spec(dataclasses.replace(config.student, history=depth))
        self.pupils = {entry.name: self._pupil(entry, students[entry.name]) for entry in group}
        self.chunks: list[Chunk] = []

    def round(self, number: int) -> str:
        """Collect states that all students caused, fit them all; return a line of errors."""
        wanted = tuple(dict.fromkeys(name for p in self.pupils.values() for name in p.wanted))
        infer = self._driver(number) if number else None
        chunk = collect(
            self.teacher, self.spec, infer, self.config.rollout, wanted,
            number=number, seed=self.config.seed,
        )  # fmt: skip
        self.chunks.append(chunk)
        last = number == self.config.rollout.rounds - 1
        for pupil in self.pupils.values():
            settings = pupil.config.fit
            data = Dataset.of(self.chunks, self.config.rollout.capacity, pupil.wanted)
            data = data.columns(pupil.columns)
            pupil.losses = fit(
                pupil.student, data, settings,
                settings.final_updates if last else settings.updates,
                1000 * self.config.seed + number, Mirror.of(pupil.spec),
            )  # fmt: skip
            pupil.seen = data.observation[-1000:].numpy()
        errors = "  ".join(f"{p.losses.get('held_rms/0', 0):.3f}" for p in self.pupils.values())
        return f"{len(self.chunks[0].task) * len(self.chunks)} states, held-out rms {errors}"

    def _driver(self, number: int):
        """Return who answers for each row: the students in turn, others in another round."""
        pupils = list(self.pupils.values())
        count = self.config.rollout.envs_per_task * len(self.teacher.tasks)
        turn = (np.arange(count) + number) % len(pupils)

        def infer(seen: np.ndarray) -> np.ndarray:
            action = np.empty((count, len(self.spec.joint_names)), np.float32)
            for index, pupil in enumerate(pupils):
                rows = turn == index
                if rows.any():
                    own = np.ascontiguousarray(seen[rows][:, pupil.columns.numpy()])
                    action[rows] = pupil.student.infer(own)
            return action

        return infer

    def _pupil(self, entry: Candidate, student: StudentConfig) -> Pupil:
        spec = self._spec(student)
        label = self.config.label
        if entry.target:
            label = dataclasses.replace(label, target=entry.target)
        config = dataclasses.replace(
            self.config, label=label, student=student, fit=_replaced(self.config.fit, entry.fit)
        )
        made = make_student(spec, student, self.config.seed)
        return Pupil(entry, config, spec, made, columns_of(self.spec, spec))

    def _spec(self, student: StudentConfig) -> PolicySpec:
        return make_spec("study", self.teacher.tasks, self.teacher.action_map, student)


def columns_of(wide: PolicySpec, narrow: PolicySpec) -> torch.Tensor:
    """Return which numbers of the wide layout's observation the narrow one consists of.

    Both have the same blocks; the narrow one keeps the newest frames of each.
    """
    found, start = [], 0
    for long, short in zip(wide.observation, narrow.observation, strict=True):
        end = start + long.size * long.history
        found.append(np.arange(end - short.size * short.history, end))
        start = end
    return torch.from_numpy(np.concatenate(found))


def _replaced(config: Any, changes: Changes) -> Any:
    return dataclasses.replace(config, **dict(changes))


def label_noise(teacher: Guide, rows: int, steps: int, seed: int) -> dict[str, dict[str, float]]:
    """Return, per target, how far two labels of the same states lie apart, and from the policy.

    The states are those of the teacher's own episodes, `rows` robots per task for `steps` control
    steps. Root mean squares in units of action: `noise` between two independent searches of the
    same state (over sqrt 2: of one), `moved` from the policy's mean.
    """
    task = np.repeat(np.arange(len(teacher.tasks)), rows)
    env = H1Env([teacher.tasks[i] for i in task], seed=seed, action_map=teacher.action_map)
    generator = torch.Generator().manual_seed(seed)
    square: dict[str, list[np.ndarray]] = {name: [] for name in TARGETS}
    observation = env.reset()
    for _ in range(steps):
        first, second = (teacher.labels(observation, task, generator, TARGETS) for _ in range(2))
        for name in TARGETS:
            apart = ((first[name] - second[name]) ** 2).mean()
            square[name].append(np.array([apart, ((first[name] - first["mean"]) ** 2).mean()]))
        step = env.step(first["best"])
        over = step.terminated | step.truncated
        observation = env.reset(over) if over.any() else step.obs
    env.close()
    found = {name: np.sqrt(np.mean(rows, 0) * [0.5, 1.0]) for name, rows in square.items()}
    return {
        name: {"noise": round(float(noise), 4), "moved": round(float(moved), 4)}
        for name, (noise, moved) in found.items()
    }
