"""What a distillation says of teacher and student: who acts how, tables, warnings, latency."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from distill.config import NO_NOISE, NoiseConfig
from distill.proof import Make
from distill.rollouts import Infer, Senses
from runtime.lockstep import evaluate_lockstep
from runtime.policy import OnnxPolicy
from runtime.spec import PolicySpec
from training.evaluation import ActFunction, Score
from training.files import write_text
from training.physics import NUM_QPOS
from training.tasks import task as known_task


def student_controller(
    spec: PolicySpec, infer: Infer, noise: NoiseConfig = NO_NOISE, seed: int = 0
) -> ActFunction:
    """Return a student as `evaluate` drives it: once, from the first step of its episodes on.

    Tasks may change on the way; its memory goes on, as on the robot.

    Of the privileged observation [E, O] only the robot's qpos and qvel are looked at, and only what
    the robot's own `observe` makes of them, with sensor noise if asked for, reaches the student.
    """
    senses: list[Senses] = []
    columns = np.array([known_task(name).robot_columns for name in spec.tasks])

    def act(observation: np.ndarray, task: np.ndarray) -> np.ndarray:
        if not senses:
            senses.append(Senses(spec, task, noise, [seed, 3]))
        senses[0].task = task
        robot = np.take_along_axis(observation, columns[task], axis=1)
        action = infer(senses[0].observe(robot[:, :NUM_QPOS], robot[:, NUM_QPOS:]))
        senses[0].act(action)
        return action

    return act


def student_maker(spec: PolicySpec, infer: Infer) -> Make:
    """Return a student for `proof`: a condition's sensor noise is the student's."""
    return lambda condition, seed: student_controller(spec, infer, condition.noise, seed)


def worth(results: dict[str, dict[str, Any]]) -> float:
    """Return what rounds are compared by: the mean over tasks of return / success bar."""
    return float(np.mean([x["mean"] / known_task(name).success_bar for name, x in results.items()]))


def through_runtime(policy: OnnxPolicy, task: str, episodes: int, steps: int, seed: int) -> Score:
    """Return a policy's score in the robot's own loop: guard on, targets one physics tick late."""
    runs = [
        evaluate_lockstep(policy, task, seed + i, steps, delay_ticks=1) for i in range(episodes)
    ]
    return Score(task, tuple(run.total for run in runs), tuple(run.length for run in runs))


def to_dict(score: Score, steps: int) -> dict[str, Any]:
    """Return a score of episodes of at most `steps` as JSON-ready values, one decimal."""
    return {
        "mean": round(score.mean, 1),
        "std": round(score.std, 1),
        "length": round(score.length, 1),
        "falls": sum(length < steps for length in score.lengths),
        "returns": [round(value, 1) for value in score.returns],
        "lengths": list(score.lengths),
    }


def retention(student: float, random: float, planner: float) -> float | None:
    """Return (student - random) / (planner - random); None if the planner does not beat random."""
    return round((student - random) / (planner - random), 3) if planner > random else None


def latency(policy: OnnxPolicy, calls: int) -> dict[str, float]:
    """Return microseconds per single inference, after a warm-up."""
    observation = np.asarray(policy.spec.golden_observation, np.float32)
    times = np.empty(calls)
    for _ in range(20):
        policy.infer(observation)
    for i in range(calls):
        began = time.perf_counter()
        policy.infer(observation)
        times[i] = time.perf_counter() - began
    p50, p99 = np.percentile(times * 1e6, (50, 99))
    return {"p50_us": round(float(p50), 1), "p99_us": round(float(p99), 1)}


def table(results: dict[str, dict[str, dict[str, Any]]], tasks: tuple[str, ...]) -> str:
    """Return controllers x tasks as mean±std/length."""
    lines = ["".join([f"{'':18}", *(f"{task:>20}" for task in tasks)])]
    for name, by_task in results.items():
        cells = [by_task.get(task) for task in tasks]  # a demonstrator may know fewer tasks
        words = [f"{c['mean']:.0f}±{c['std']:.0f} /{c['length']:.0f}" if c else "-" for c in cells]
        lines.append("".join([f"{name:18}", *(f"{word:>20}" for word in words)]))
    return "\n".join(lines)


def warnings(
    results: dict[str, dict[str, dict[str, Any]]], tasks: tuple[str, ...], reference: str
) -> list[str]:
    """Return a sentence per task on which the student loses to random, or a demonstrator wins."""
    found = [
        f"WARNING: on {task} the student ({results['student'][task]['mean']}) loses to random "
        f"({results['random'][task]['mean']})"
        for task in tasks
        if results["student"][task]["mean"] < results["random"][task]["mean"]
    ]
    if reference == "demonstrator":
        return [*found, "NOTE: the teacher is the demonstrator itself, not a planner"]
    above = [
        f"NOTE: on {task} the demonstrator ({results['demonstrator'][task]['mean']}) beats the "
        f"planner ({results[reference][task]['mean']})"
        for task in tasks
        if "demonstrator" in results
        and results["demonstrator"].get(task, {"mean": -np.inf})["mean"]
        > results[reference][task]["mean"]
    ]
    return found + above


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a finished step left, None if it has not run."""
    return json.loads(path.read_text()) if path.is_file() else None


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write JSON in one step."""
    write_text(path, json.dumps(values, indent=1) + "\n")
