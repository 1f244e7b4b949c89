"""Measure teacher and student side by side; write card.json, the table and the last line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from distill.rollouts import Infer
from distill.teacher import Teacher
from runtime.lockstep import evaluate_lockstep
from runtime.observation import Memory, observe, remember
from runtime.policy import OnnxPolicy
from runtime.spec import PolicySpec
from runtime.state import Command, state_from_generalized
from training.agent import OBSERVATION_SIZE
from training.checkpoint import write_text
from training.evaluation import ActFunction, Score, evaluate
from training.physics import NUM_QPOS
from training.tasks import task as known_task

Scores = dict[str, dict[str, Score]]  # controller -> task -> score


def student_controller(spec: PolicySpec, infer: Infer) -> ActFunction:
    """Return a student as `evaluate` drives it: once, from the first step of its episodes on.

    Of the privileged observation [E, O] only the robot's qpos and qvel are looked at, and only what
    the robot's own `observe` makes of them reaches the student.
    """
    memory: list[Memory] = []
    columns = np.array([known_task(name).robot_columns for name in spec.tasks])

    def act(observation: np.ndarray, task: np.ndarray) -> np.ndarray:
        if not memory:
            memory.append(Memory.create(spec, batch_shape=task.shape))
        robot = np.take_along_axis(observation, columns[task], axis=1)
        state = state_from_generalized(robot[:, :NUM_QPOS], robot[:, NUM_QPOS:])
        action = infer(observe(state, Command(task), spec, memory[0]))
        remember(memory[0], action)
        return action

    return act


def measure(
    act: ActFunction,
    teacher: Teacher,
    *,
    episodes: int,
    steps: int,
    seed: int,
    delay_substeps: tuple[int, int] = (0, 0),
) -> dict[str, Score]:
    """Return a controller's scores by task; HumanoidBench's termination is on."""
    return evaluate(
        act,
        teacher.tasks,
        episodes=episodes,
        seed=seed,
        action_map=teacher.agent.action_map,
        terminate=True,
        steps=steps,
        delay_substeps=delay_substeps,
    )


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


def planner_latency(teacher: Teacher, calls: int = 20) -> dict[str, float]:
    """Return microseconds per single decision of the teacher's own search."""
    observation, task = np.zeros((1, OBSERVATION_SIZE), np.float32), teacher.index[:1]
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        teacher.agent.plan(observation, task)
        times.append(time.perf_counter() - began)
    return {"p50_us": round(float(np.median(times)) * 1e6, 1)}


def table(results: dict[str, dict[str, dict[str, Any]]], tasks: tuple[str, ...]) -> str:
    """Return controllers x tasks as mean±std/length."""
    lines = ["".join([f"{'':18}", *(f"{task:>20}" for task in tasks)])]
    for name, by_task in results.items():
        cells = [by_task[task] for task in tasks]
        words = [f"{c['mean']:.0f}±{c['std']:.0f} /{c['length']:.0f}" for c in cells]
        lines.append("".join([f"{name:18}", *(f"{word:>20}" for word in words)]))
    return "\n".join(lines)


def warnings(results: dict[str, dict[str, dict[str, Any]]], tasks: tuple[str, ...]) -> list[str]:
    """Return a sentence per task on which the student loses to random."""
    return [
        f"WARNING: on {task} the student ({results['student'][task]['mean']}) loses to random "
        f"({results['random'][task]['mean']})"
        for task in tasks
        if results["student"][task]["mean"] < results["random"][task]["mean"]
    ]


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a finished step left, None if it has not run."""
    return json.loads(path.read_text()) if path.is_file() else None


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write JSON in one step."""
    write_text(path, json.dumps(values, indent=1) + "\n")
