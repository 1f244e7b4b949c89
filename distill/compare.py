"""Measure a distillation's teacher, student and rivals on the same seeded episodes."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

from distill import report
from distill.config import DistillConfig
from distill.demonstrated import Demonstrated
from distill.proof import Condition, Make, conditions, measure, push_curve
from distill.teacher import Guide
from distill.turns import turns
from runtime.policy import OnnxPolicy
from runtime.score import SPEED
from training.cli import ConfigError, to_dict

Results = dict[str, dict[str, dict[str, Any]]]  # controller -> task -> figures of proof.measure


def measure_teacher(config: DistillConfig, teacher: Guide, folder: Path) -> Results:
    """Measure everything the student is compared with, once per teacher and protocol.

    The teacher is measured on the randomised robots as well, with the true state before it.
    """
    path, settings = folder / "teacher.json", to_dict(config)["report"]
    key = {"report": settings, "demonstrator": config.demonstrator}
    there = report.read_json(path)
    known = there is not None and {name: there.get(name) for name in key} == key
    results: Results = there["results"] if there and known else {}
    every, seed, main = conditions(config.rollout), config.report.seed, teacher.reference
    runs = [(name, name, "clean") for name in teacher.controllers(seed)]
    runs.append((f"{main}_randomised", main, "randomised"))
    for name, controller, condition in runs:
        if name not in results:
            act = teacher.controllers(seed)[controller]  # anew: each has its own generator
            results[name] = _measure(
                config, teacher, lambda *_, act=act: act, every[condition], main=controller == main
            )
            report.write_json(path, key | {"results": results})
    guest = demonstrator_of(config, teacher)
    if guest is not None and "demonstrator" not in results:
        for condition, ending in (("clean", ""), ("randomised", "_randomised")):
            act = guest.act
            results[f"demonstrator{ending}"] = _measure(
                config, guest, lambda *_, act=act: act, every[condition]
            )
        report.write_json(path, key | {"results": results})
    return results


def demonstrator_of(config: DistillConfig, teacher: Guide) -> Demonstrated | None:
    """Return the demonstrator to be measured beside the planner, on the tasks that both know.

    Raises:
        ConfigError: it has another action map, or none of the tasks.
    """
    if not config.demonstrator or teacher.reference == "demonstrator":
        return None
    everything = Demonstrated.load(config.demonstrator)
    shared = tuple(name for name in teacher.tasks if name in everything.tasks)
    if not shared:
        raise ConfigError(
            f"demonstrator={config.demonstrator} knows {list(everything.tasks)}, "
            f"the teacher {list(teacher.tasks)}"
        )
    return Demonstrated.load(config.demonstrator, shared)


def _measure(
    config: DistillConfig, teacher: Guide, make: Make, condition: Condition, main: bool = True
) -> dict[str, dict[str, Any]]:
    settings = config.report
    return measure(
        make(condition, settings.seed),
        teacher.tasks,
        action_map=teacher.action_map,
        condition=condition,
        episodes=settings.episodes if main else min(settings.side_episodes, settings.episodes),
        steps=settings.steps,
        seed=settings.seed,
        both=main,
    )


def measure_student(
    config: DistillConfig, teacher: Guide, policy: OnnxPolicy, folder: Path, best: int
) -> tuple[Results, dict[str, Any], dict[str, Any]]:
    """Measure the exported policy under every condition; return results, push curves and turns.

    Kept in student.json beside the policy, so that an interrupted report goes on.
    """
    path, settings = folder / "student.json", to_dict(config)["report"]
    key = {"report": settings, "round": best, "average": config.fit.average}
    there = report.read_json(path)
    fits = there is not None and {name: there.get(name) for name in key} == key
    found: dict[str, Any] = {"results": {}, "pushes": {}, "turns": {}}
    found |= there if there and fits else key
    make = report.student_maker(policy.spec, policy.infer)
    results: Results = found["results"]
    for name, each in conditions(config.rollout).items():
        title = "student" if name == "clean" else f"student_{name}"
        if title not in results:
            results[title] = _measure(config, teacher, make, each)
            report.write_json(path, found)
    episodes, steps, seed = (settings[key] for key in ("runtime_episodes", "steps", "seed"))
    known = set(teacher.tasks) <= SPEED.keys()  # the tasks that the runtime can score
    if episodes and known and "student_runtime" not in results:
        results["student_runtime"] = {
            task: report.to_dict(report.through_runtime(policy, task, episodes, steps, seed), steps)
            for task in teacher.tasks
        }
    for name, curve in push_curves(config, teacher, policy, found["pushes"]):
        found["pushes"][name] = curve
        report.write_json(path, found)
    for name, cells in turn_tables(config, teacher, policy, found["turns"]):
        found["turns"][name] = cells
        report.write_json(path, found)
    return results, found["pushes"], found["turns"]


def _rivals(
    config: DistillConfig, teacher: Guide, policy: OnnxPolicy
) -> dict[str, tuple[Make, Condition]]:
    """Return whom pushes and turns try: student clean and randomised, and the teacher."""
    every = conditions(config.rollout)
    student = report.student_maker(policy.spec, policy.infer)
    teacher_acts = teacher.controllers(config.report.seed)[teacher.reference]
    return {
        "student": (student, every["clean"]),
        "student_randomised": (student, every["randomised"]),
        teacher.reference: (lambda *_: teacher_acts, every["clean"]),
    }


Measured = Callable[[Make, Condition], dict[str, Any]]


def _try_rivals(
    config: DistillConfig, teacher: Guide, policy: OnnxPolicy, done: Container[str], one: Measured
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what `one` finds of each rival that is not done."""
    for name, (make, condition) in _rivals(config, teacher, policy).items():
        if name not in done:
            yield name, one(make, condition)


def turn_tables(
    config: DistillConfig, teacher: Guide, policy: OnnxPolicy, done: Container[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield who is still up after every change of task."""
    settings = config.report

    def one(make: Make, condition: Condition) -> dict[str, Any]:
        act = make(condition, settings.seed)
        return turns(
            act, teacher.tasks, action_map=teacher.action_map, condition=condition,
            episodes=settings.turn_episodes, seed=settings.seed + 3,
        )  # fmt: skip

    if settings.turn_episodes:
        yield from _try_rivals(config, teacher, policy, done, one)


def push_curves(
    config: DistillConfig, teacher: Guide, policy: OnnxPolicy, done: Container[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield recovery against push size."""
    settings = config.report

    def one(make: Make, condition: Condition) -> dict[str, Any]:
        act = make(condition, settings.seed)
        return push_curve(
            act, teacher.tasks, settings.push_sizes, action_map=teacher.action_map,
            condition=condition, episodes=settings.push_episodes, seed=settings.seed + 2,
        )  # fmt: skip

    if settings.push_sizes:
        yield from _try_rivals(config, teacher, policy, done, one)
