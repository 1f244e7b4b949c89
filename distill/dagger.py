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
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from distill.config import DistillConfig
from distill.fit import Dataset, fit
from distill.proof import conditions, measure
from distill.report import student_maker, worth
from distill.rollouts import Chunk, beta, collect
from distill.student import Student, make_student
from distill.symmetry import Mirror
from distill.teacher import Guide
from runtime.spec import PolicySpec
from training.checkpoint import CheckpointError
from training.cli import ConfigError
from training.files import write_text

_ARRAYS = ("observation", "task", "held", "lasting", "returns")


@dataclass
class Distillation:
    """The rounds of one distillation, in one folder."""

    config: DistillConfig
    teacher: Guide
    spec: PolicySpec
    folder: Path  # <out>/rounds

    def run(self) -> tuple[Student, list[dict], int]:
        """Do what is left to do; return the best student, all rounds' metrics, and its round.

        With `fit.average` that is the mean of the last students, and the last round.
        """
        records = []
        for number in range(self.config.rollout.rounds):
            record = self._finished(number) or self._round(number)
            records.append(record)
            print(describe(record, self.teacher.tasks), flush=True)
        if self.config.fit.average:
            kept = list(range(len(records)))[-self.config.fit.average :]
            print(f"the mean of the students of rounds {kept[0]} to {kept[-1]} is kept", flush=True)
            return mean_student([self._student(number) for number in kept]), records, kept[-1]
        best = best_round(records)
        print(f"the student of round {best} is kept", flush=True)
        return self._student(best), records, best

    def observations(self, count: int) -> np.ndarray:
        """Return the last observations [<= count, N] of all rounds, the newest last."""
        found: list[np.ndarray] = []
        for number in reversed(range(self.config.rollout.rounds)):
            found.insert(0, self._chunk(number).observation)
            if sum(map(len, found)) >= count:
                break
        return np.concatenate(found)[-count:]

    @property
    def wanted(self) -> tuple[str, ...]:
        """The labels that are collected, the action first."""
        extra = ("value",) if self.config.fit.value else ()
        return (*self.teacher.wanted, *extra)

    def _finished(self, number: int) -> dict | None:
        """Return the metrics of a complete round, None if it has to be done."""
        path = self._path(number, "metrics.json")
        try:
            return json.loads(path.read_text()) if path.is_file() else None
        except json.JSONDecodeError as error:
            raise CheckpointError(
                f"{path} is not complete ({error}); delete it, and the same command does the "
                "round again"
            ) from None

    def _round(self, number: int) -> dict:
        config, began = self.config, time.perf_counter()
        chunk = self._chunk(number)
        collected = time.perf_counter()
        chunks = [self._chunk(i) for i in range(number)] + [chunk]
        data = Dataset.of(chunks, config.rollout.capacity, self.wanted)
        last = number == config.rollout.rounds - 1
        updates = config.fit.final_updates if last else config.fit.updates
        student = self._student(number - 1)
        seed = 1000 * config.seed + number
        losses = fit(student, data, config.fit, updates, seed, Mirror.of(self.spec))
        fitted = time.perf_counter()
        save_atomic(self._path(number, "student.safetensors"), student)
        record = {
            "round": number,
            "beta": beta(number, config.rollout.beta_rounds),
            "states": len(data.task),
            "updates": updates,
            "driven_reward": dict(zip(self.teacher.tasks, chunk.returns.tolist(), strict=True)),
            "falls": chunk.falls,
            **losses,
            **self._scores(student),
            "collect_s": round(collected - began, 1),
            "fit_s": round(fitted - collected, 1),
            "measure_s": round(time.perf_counter() - fitted, 1),
        }
        write_text(self._path(number, "metrics.json"), json.dumps(record, indent=1))
        return record

    def _scores(self, student: Student) -> dict[str, Any]:
        """Return mean returns per task over a few episodes that the report does not use.

        `returns`: on the nominal robot; `randomised`: on others, late, pushed, with sensor noise;
        `worth`: by which rounds are compared, the mean of both in shares of the success bars.
        """
        report = self.config.report
        if not report.round_episodes:
            return {"returns": {}}
        found, both = {}, []
        for name, condition in conditions(self.config.rollout).items():
            if name == "delayed":
                continue
            results = measure(
                student_maker(self.spec, student.infer)(condition, report.seed + 1),
                self.teacher.tasks,
                action_map=self.teacher.action_map,
                condition=condition,
                episodes=report.round_episodes,
                steps=report.steps,
                seed=report.seed + 1,
            )
            key = "returns" if name == "clean" else name
            found[key] = {task: entry["mean"] for task, entry in results.items()}
            both.append(worth(results))
        return found | {"worth": round(float(np.mean(both)), 4), "episodes": report.round_episodes}

    def _chunk(self, number: int) -> Chunk:
        path = self._path(number, "data.safetensors")
        if not path.is_file():
            infer = self._student(number - 1).infer if number or self.config.init else None
            chunk = collect(
                self.teacher, self.spec, infer, self.config.rollout, self.wanted,
                number=number, seed=self.config.seed,
            )  # fmt: skip
            save_chunk(path, chunk)
        return load_chunk(path)

    def _student(self, number: int) -> Student:
        """Return the student after round `number`; -1: untrained, or what `init` says."""
        student = make_student(self.spec, self.config.student, self.config.seed)
        if number < 0 and self.config.init:
            load_initial(student, Path(self.config.init))
        if number >= 0:
            path = self._path(number, "student.safetensors")
            try:
                student.load_state_dict(load_tensors(path))
            except (OSError, SafetensorError, RuntimeError) as error:
                raise CheckpointError(
                    f"{path} holds no student of this size ({str(error).splitlines()[0]}); delete "
                    f"the folder {path.parent} and all later rounds, and the same command does "
                    "them again"
                ) from None
        return student.eval()

    def _path(self, number: int, name: str) -> Path:
        folder = self.folder / f"{number:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


def load_initial(student: Student, path: Path) -> None:
    """Give a student the weights of another distillation's.

    Raises:
        ConfigError: no such file, or not a student of this size.
    """
    try:
        student.load_state_dict(load_tensors(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(
            f"init={path} holds no student of this size: {str(error).splitlines()[0]}"
        ) from None


def mean_student(students: list[Student]) -> Student:
    """Return the last student with the mean of all their weights.

    Every round goes on from the weights of the one before, so they lie in one valley; their mean
    is steadier than any of them (Izmailov et al. 2018).
    """
    states = [student.state_dict() for student in students]
    mean = {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(tensor.dtype)
        for name, tensor in states[-1].items()
    }
    students[-1].load_state_dict(mean)
    return students[-1]


def best_round(records: list[dict]) -> int:
    """Return the round whose student was worth most; without measurements, the last."""
    measured = [record for record in records if "worth" in record]
    if not measured:
        return len(records) - 1
    return max(measured, key=lambda record: (record["worth"], record["round"]))["round"]


def save_chunk(path: Path, chunk: Chunk) -> None:
    """Write a round's labelled states in one step."""
    part = path.with_name(path.name + ".part")
    arrays = {name: getattr(chunk, name) for name in _ARRAYS}
    arrays |= {f"label/{name}": label for name, label in chunk.labels.items()}
    save_file({**arrays, "counts": np.array([chunk.falls, chunk.rows])}, part)
    os.replace(part, path)


def load_chunk(path: Path) -> Chunk:
    """Read what `save_chunk` wrote.

    Raises:
        CheckpointError: it is not complete, or no round's data.
    """
    try:
        arrays = load_file(path)
        falls, rows = (int(x) for x in arrays["counts"])
        labels = {
            name.removeprefix("label/"): array
            for name, array in arrays.items()
            if name.startswith("label/")
        }
        return Chunk(
            labels=labels, falls=falls, rows=rows, **{name: arrays[name] for name in _ARRAYS}
        )
    except (SafetensorError, KeyError) as error:
        raise CheckpointError(
            f"{path} is not a complete round ({error}); delete that file, and the same command "
            "collects the round again"
        ) from None


def save_atomic(path: Path, student: Student) -> None:
    """Write a student's weights in one step."""
    part = path.with_name(path.name + ".part")
    save_tensors({k: v.contiguous() for k, v in student.state_dict().items()}, part)
    os.replace(part, path)


def describe(record: dict, tasks: tuple[str, ...]) -> str:
    """Return a round's line on screen."""
    held = "  ".join(f"{record.get(f'held_rms/{i}', float('nan')):.3f}" for i in range(len(tasks)))
    other = record.get("randomised", {})
    returns = "  ".join(
        f"{task} {value:.0f}/{other.get(task, float('nan')):.0f}"
        for task, value in record["returns"].items()
    )
    return (
        f"round {record['round']:2d}  beta {record['beta']:.2f}  states {record['states']:6d}  "
        f"falls {record['falls']:4d}  held-out rms {held}  student {returns or '-'}  "
        f"({record['collect_s']:.0f}+{record['fit_s']:.0f}+{record['measure_s']:.0f} s)"
    )
