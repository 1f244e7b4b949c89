"""DAgger rounds that survive being interrupted: collect, fit, measure, one folder per round.

<out>/rounds/00/data.safetensors       labelled states
               /student.safetensors    fitted to this and all earlier rounds
               /metrics.json           written last: the round is complete
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from distill.config import DistillConfig
from distill.fit import Dataset, fit
from distill.report import measure, student_controller
from distill.rollouts import Chunk, beta, collect
from distill.student import Student, make_student
from distill.teacher import Teacher
from runtime.spec import PolicySpec
from training.checkpoint import write_text


@dataclass
class Distillation:
    """The rounds of one distillation, in one folder."""

    config: DistillConfig
    teacher: Teacher
    spec: PolicySpec
    folder: Path  # <out>/rounds

    def run(self) -> tuple[Student, list[dict]]:
        """Do what is left to do; return the last student and the metrics of every round."""
        records = []
        for number in range(self.config.rollout.rounds):
            record = self._finished(number) or self._round(number)
            records.append(record)
            print(describe(record, self.teacher.tasks), flush=True)
        return self._student(self.config.rollout.rounds - 1), records

    def observations(self, count: int) -> np.ndarray:
        """Return the last observations [count, N] that the student caused."""
        return self._chunk(self.config.rollout.rounds - 1).observation[-count:]

    def _finished(self, number: int) -> dict | None:
        path = self._path(number, "metrics.json")
        return json.loads(path.read_text()) if path.is_file() else None

    def _round(self, number: int) -> dict:
        config, began = self.config, time.perf_counter()
        chunk = self._chunk(number)
        collected = time.perf_counter()
        data = Dataset.of([self._chunk(i) for i in range(number)] + [chunk], self._capacity)
        last = number == config.rollout.rounds - 1
        updates = config.fit.final_updates if last else config.fit.updates
        student = self._student(number - 1)
        losses = fit(student, data, config.fit, updates, seed=1000 * config.seed + number)
        fitted = time.perf_counter()
        save_atomic(self._path(number, "student.safetensors"), student)
        record = {
            "round": number,
            "beta": beta(number, config.rollout.beta_rounds),
            "states": len(data.task),
            "driven_reward": dict(zip(self.teacher.tasks, chunk.returns.tolist(), strict=True)),
            "falls": chunk.falls,
            **losses,
            "returns": self._returns(student),
            "collect_s": round(collected - began, 1),
            "fit_s": round(fitted - collected, 1),
            "measure_s": round(time.perf_counter() - fitted, 1),
        }
        write_text(self._path(number, "metrics.json"), json.dumps(record, indent=1))
        return record

    @property
    def _capacity(self) -> int:
        return self.config.rollout.capacity

    def _returns(self, student: Student) -> dict[str, float]:
        """Return the mean return per task over a few episodes that the report does not use."""
        report = self.config.report
        if not report.round_episodes:
            return {}
        scores = measure(
            student_controller(self.spec, student.infer),
            self.teacher,
            episodes=report.round_episodes,
            steps=report.steps,
            seed=report.seed + 1,
        )
        return {task: score.mean for task, score in scores.items()}

    def _chunk(self, number: int) -> Chunk:
        path = self._path(number, "data.safetensors")
        if not path.is_file():
            infer = self._student(number - 1).infer if number else None
            chunk = collect(
                self.teacher, self.spec, infer, self.config.rollout,
                number=number, seed=self.config.seed,
            )  # fmt: skip
            save_chunk(path, chunk)
        return load_chunk(path)

    def _student(self, number: int) -> Student:
        """Return the student after round `number`; -1: untrained."""
        student = make_student(self.spec, self.config.student, self.config.seed)
        if number >= 0:
            student.load_state_dict(load_tensors(self._path(number, "student.safetensors")))
        return student.eval()

    def _path(self, number: int, name: str) -> Path:
        folder = self.folder / f"{number:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


def save_chunk(path: Path, chunk: Chunk) -> None:
    """Write a round's labelled states in one step."""
    part = path.with_name(path.name + ".part")
    save_file(
        {
            "observation": chunk.observation,
            "action": chunk.action,
            "task": chunk.task,
            "held": chunk.held,
            "falls": np.array([chunk.falls]),
            "returns": chunk.returns,
        },
        part,
    )
    os.replace(part, path)


def load_chunk(path: Path) -> Chunk:
    """Read what `save_chunk` wrote."""
    arrays = load_file(path)
    falls = int(arrays.pop("falls")[0])
    return Chunk(falls=falls, **arrays)


def save_atomic(path: Path, student: Student) -> None:
    """Write a student's weights in one step."""
    part = path.with_name(path.name + ".part")
    save_tensors({k: v.contiguous() for k, v in student.state_dict().items()}, part)
    os.replace(part, path)


def describe(record: dict, tasks: tuple[str, ...]) -> str:
    """Return a round's line on screen."""
    held = "  ".join(f"{record.get(f'held_rms/{i}', float('nan')):.3f}" for i in range(len(tasks)))
    returns = "  ".join(f"{task} {value:.0f}" for task, value in record["returns"].items())
    return (
        f"round {record['round']:2d}  beta {record['beta']:.2f}  states {record['states']:6d}  "
        f"falls {record['falls']:4d}  held-out rms {held}  student {returns or '-'}  "
        f"({record['collect_s']:.0f}+{record['fit_s']:.0f}+{record['measure_s']:.0f} s)"
    )
