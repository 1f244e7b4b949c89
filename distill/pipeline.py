"""A distillation as a sentence: measure the teacher, do the rounds, export, report, ship.

Every step leaves a file in the out folder and is skipped where the file lies already, so the same
command continues what was interrupted.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

import torch

from distill import report
from distill.config import DistillConfig
from distill.dagger import Distillation
from distill.export import export
from distill.ship import save_teacher, ship
from distill.student import make_spec
from distill.teacher import Teacher
from runtime.policy import OnnxPolicy
from runtime.score import SPEED
from runtime.spec import PolicySpec
from training.config import ConfigError, to_dict
from training.evaluation import ActFunction
from training.trainer import git_sha

Results = dict[str, dict[str, dict[str, Any]]]  # controller -> task -> score
PARITY_STATES = 1000


def distil(config: DistillConfig, words: list[str]) -> dict[str, Any]:
    """Do what is left of a distillation and return its card. `words`: the command line's."""
    torch.set_num_threads(config.torch_threads)
    teacher = Teacher.load(config.ckpt, config.label, config.tasks)
    folder = open_folder(config, teacher)
    spec = make_spec(config.name, teacher.tasks, teacher.agent.action_map, config.student)
    print(f"teacher {teacher.facts}, tasks {list(teacher.tasks)}, {spec.observation_size} inputs")
    results = measure_teacher(config, teacher, folder)
    print(report.table(results, teacher.tasks), flush=True)

    rounds = Distillation(config, teacher, spec, folder / "rounds")
    student, records = rounds.run()
    spec, difference = export(
        student,
        add_provenance(spec, teacher),
        rounds.observations(PARITY_STATES),
        folder / "policy.onnx",
    )
    print(f"torch and ONNX Runtime differ by at most {difference:.1e}")

    policy = OnnxPolicy(folder / "policy.onnx")
    results |= measure_student(config, teacher, policy)
    card = make_card(config, words, teacher, policy, results, records)
    card["parity_max_difference"] = difference
    report.write_json(folder / "card.json", card)
    save_teacher(teacher, folder / "teacher.safetensors")
    if config.ship:
        ship(folder, Path(config.ship), card)
    return card


def open_folder(config: DistillConfig, teacher: Teacher) -> Path:
    """Create the out folder, or check that it holds the same distillation.

    Raises:
        ConfigError: it holds another one.
    """
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    mine = {"teacher": teacher.facts["sha256"], **to_dict(config)}
    for key in ("ckpt", "out", "ship", "preset", "torch_threads", "report"):
        del mine[key]
    path = folder / "config.json"
    there = report.read_json(path)
    if there is not None and there != mine:
        keys = sorted(key for key in mine.keys() | there.keys() if mine.get(key) != there.get(key))
        raise ConfigError(
            f"{folder} holds another distillation (other {', '.join(keys)}); "
            "choose another out=, or delete it"
        )
    report.write_json(path, mine)
    return folder


def measure_teacher(config: DistillConfig, teacher: Teacher, folder: Path) -> Results:
    """Measure everything the student is compared with, once per teacher and protocol."""
    path, settings = folder / "teacher.json", to_dict(config)["report"]
    there = report.read_json(path)
    results: Results = there["results"] if there and there["report"] == settings else {}
    for name, act in teacher.controllers(config.report.seed).items():
        if name not in results:
            results[name] = _measure(config, teacher, act)
            report.write_json(path, {"report": settings, "results": results})
    return results


def _measure(
    config: DistillConfig, teacher: Teacher, act: ActFunction, delay: tuple[int, int] = (0, 0)
) -> dict[str, dict[str, Any]]:
    episodes, steps, seed = config.report.episodes, config.report.steps, config.report.seed
    scores = report.measure(
        act, teacher, episodes=episodes, steps=steps, seed=seed, delay_substeps=delay
    )
    return {task: report.to_dict(score, steps) for task, score in scores.items()}


def measure_student(config: DistillConfig, teacher: Teacher, policy: OnnxPolicy) -> Results:
    """Measure the exported policy on the teacher's episodes, without and with control delay."""
    delays = {"student": (0, 0), "student_delayed": config.rollout.delay_substeps}
    results: Results = {
        name: _measure(config, teacher, report.student_controller(policy.spec, policy.infer), delay)
        for name, delay in delays.items()
    }
    settings = config.report
    episodes, steps, seed = settings.runtime_episodes, settings.steps, settings.seed
    if episodes and set(teacher.tasks) <= SPEED.keys():  # the tasks that the runtime can score
        results["student_runtime"] = {
            task: report.to_dict(report.through_runtime(policy, task, episodes, steps, seed), steps)
            for task in teacher.tasks
        }
    return results


def add_provenance(spec: PolicySpec, teacher: Teacher) -> PolicySpec:
    """Return the spec with where it came from."""
    facts = {f"teacher_{key}": value for key, value in teacher.facts.items()}
    return dataclasses.replace(spec, provenance={"commit": git_sha(), "date": today(), **facts})


def today() -> str:
    """Return the date, UTC."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")


def make_card(
    config: DistillConfig,
    words: list[str],
    teacher: Teacher,
    policy: OnnxPolicy,
    results: Results,
    records: list[dict],
) -> dict[str, Any]:
    """Return everything a reader needs to check the claims."""
    spec, settings = policy.spec, to_dict(config)
    weights = sum(x.numel() for x in teacher.agent.model.parameters())
    return {
        "name": config.name,
        "warnings": report.warnings(results, teacher.tasks),
        "commit": spec.provenance["commit"],
        "date": spec.provenance["date"],
        "seed": config.seed,
        "command": "python distill/run.py " + " ".join(short(word) for word in words),
        "teacher": {
            **teacher.facts,
            "tasks": list(teacher.agent.tasks),
            "parameters": weights,
            "training": to_dict(teacher.agent.config) | {"out": "", "init": ""},
        },
        "protocol": {
            "action_map": spec.action_map,
            "termination": "HumanoidBench's",
            "steps": config.report.steps,
            "episodes": config.report.episodes,
            "seed": config.report.seed,
            "student_delayed": f"control {config.rollout.delay_substeps} physics steps late",
            "student_runtime": "runtime.lockstep: the robot's loop with its guard, 1 step late",
            "student_observes": [f"{b.name} x{b.history}" for b in spec.observation],
        },
        "results": results,
        "retention": {
            task: {
                planner: report.retention(
                    results["student"][task]["mean"],
                    results["random"][task]["mean"],
                    results[planner][task]["mean"],
                )
                for planner in ("search", "label", "mean")
            }
            for task in teacher.tasks
        },
        "latency": {
            "student": report.latency(policy, config.report.latency_calls),
            "planner": report.planner_latency(teacher),
        },
        "student": {
            "observation_size": spec.observation_size,
            "bytes": policy.path.stat().st_size,
            **settings["student"],
        },
        "rounds": records,
        "config": {key: settings[key] for key in ("label", "rollout", "fit", "report")},
    }


def short(word: str) -> str:
    """Return a word of the command line without the machine's folders."""
    key, _, value = word.partition("=")
    parts = Path(value).parts
    return f"{key}={'/'.join(parts[-3:])}" if value.startswith("/") else word


def summary(card: dict[str, Any]) -> str:
    """Return the last line: one JSON object of per-task returns, retention and latency."""
    tasks = list(card["retention"])
    return json.dumps(
        {
            "policy": card["name"],
            **{
                task: {
                    **{name: by_task[task]["mean"] for name, by_task in card["results"].items()},
                    "retention": card["retention"][task]["search"],
                }
                for task in tasks
            },
            "student_us": card["latency"]["student"]["p50_us"],
            "planner_us": card["latency"]["planner"]["p50_us"],
            "protocol": f"{card['protocol']['action_map']}, HumanoidBench termination, "
            f"{card['protocol']['steps']} steps, {card['protocol']['episodes']} episodes",
            "commit": card["commit"],
            "seed": card["seed"],
        }
    )
