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

import numpy as np
import torch

from distill import report
from distill.compare import Results, measure_student, measure_teacher
from distill.config import DistillConfig
from distill.dagger import Distillation, save_atomic
from distill.demonstrated import load_guide
from distill.export import export
from distill.readable import write_reports
from distill.ship import ship
from distill.student import make_spec
from distill.teacher import Guide
from runtime.policy import OnnxPolicy
from runtime.spec import PolicySpec
from training.cli import ConfigError, to_dict
from training.trainer import git_sha

CALIBRATION = 1000  # recorded observations kept beside the policy


def distil(config: DistillConfig, words: list[str]) -> dict[str, Any]:
    """Do what is left of a distillation and return its card. `words`: the command line's."""
    torch.set_num_threads(config.torch_threads)
    teacher = load_guide(config.ckpt, config.label, config.tasks)
    check_fit(config, teacher)
    folder = open_folder(config, teacher)
    spec = make_spec(config.name, teacher.tasks, teacher.action_map, config.student)
    print(f"teacher {teacher.facts}, tasks {list(teacher.tasks)}, {spec.observation_size} inputs")
    results = measure_teacher(config, teacher, folder)
    print(report.table(results, teacher.tasks), flush=True)

    rounds = Distillation(config, teacher, spec, folder / "rounds")
    student, records, best = rounds.run()
    save_atomic(folder / "student.safetensors", student)  # for init= of another
    states = rounds.observations(config.report.parity_states)
    spec, difference = export(
        student, add_provenance(spec, teacher), states, folder / "policy.onnx"
    )
    print(f"torch and ONNX Runtime differ by at most {difference:.1e} on {len(states)} states")
    np.save(folder / "calibration.npy", states[:: max(1, len(states) // CALIBRATION)])  # for int8

    policy = OnnxPolicy(folder / "policy.onnx")
    own, pushes, turned = measure_student(config, teacher, policy, folder, best)
    results |= own
    card = make_card(config, words, teacher, policy, results, records)
    card["best_round"] = best
    card["parity_max_difference"] = difference
    card["parity"] = {"states": len(states), "torch, ONNX Runtime": difference}
    card["parity"]["TensorRT"] = "not run: no GPU"
    card["pushes"], card["turns"] = pushes, turned
    report.write_json(folder / "card.json", card)
    write_reports(folder, card)
    teacher.save(folder / "teacher.safetensors")
    if config.ship:
        ship(folder, Path(config.ship), card)
    return card


def check_fit(config: DistillConfig, teacher: Guide) -> None:
    """Refuse what this teacher cannot give.

    Raises:
        ConfigError: a value to fit, of a teacher that has none.
    """
    if config.fit.value and teacher.reference == "demonstrator":
        raise ConfigError("fit.value needs a planner: a demonstrator searches for no value")


def open_folder(config: DistillConfig, teacher: Guide) -> Path:
    """Create the out folder, or check that it holds the same distillation.

    `rollout.rounds`, `fit.final_updates` and `fit.average` may differ: a finished distillation can
    go on.

    Raises:
        ConfigError: it holds another one.
    """
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    mine = {"teacher": teacher.facts["sha256"], **to_dict(config)}
    for key in ("ckpt", "demonstrator", "out", "ship", "preset", "torch_threads", "report"):
        del mine[key]
    path = folder / "config.json"
    there = report.read_json(path)
    before, now = (_identity(entry) for entry in (there or mine, mine))
    if before != now:
        keys = sorted(key for key in now.keys() | before.keys() if now.get(key) != before.get(key))
        raise ConfigError(
            f"{folder} holds another distillation (other {', '.join(keys)}); "
            "choose another out=, or delete it"
        )
    report.write_json(path, mine)
    return folder


def _identity(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a distillation another one: how, not how far.

    A key that a folder does not hold is younger than it: the default is what was done there.
    """
    far = {"rollout": ("rounds",), "fit": ("final_updates", "average")}
    usual = to_dict(DistillConfig())
    return {
        key: {k: v for k, v in (usual[key] | value).items() if k not in far.get(key, ())}
        if isinstance(value, dict)
        else value
        for key, value in ({"init": usual["init"]} | entry).items()
    }


def add_provenance(spec: PolicySpec, teacher: Guide) -> PolicySpec:
    """Return the spec with where it came from."""
    facts = {f"teacher_{key}": value for key, value in teacher.facts.items()}
    return dataclasses.replace(spec, provenance={"commit": git_sha(), "date": today(), **facts})


def today() -> str:
    """Return the date, UTC."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")


def make_card(
    config: DistillConfig,
    words: list[str],
    teacher: Guide,
    policy: OnnxPolicy,
    results: Results,
    records: list[dict],
) -> dict[str, Any]:
    """Return everything a reader needs to check the claims."""
    spec, settings = policy.spec, to_dict(config)
    noise = ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(config.rollout.noise).items())
    return {
        "name": config.name,
        "warnings": report.warnings(results, teacher.tasks, teacher.reference),
        "reference": teacher.reference,
        "commit": spec.provenance["commit"],
        "date": spec.provenance["date"],
        "seed": config.seed,
        "command": "python distill/run.py " + " ".join(short(word) for word in words),
        "teacher": teacher.describe(),
        "protocol": {
            "action_map": spec.action_map,
            "termination": "HumanoidBench's",
            "steps": config.report.steps,
            "episodes": config.report.episodes,
            "seed": config.report.seed,
            "ezm": "the same episodes without termination (EZ-M's protocol), in each cell",
            "delayed": f"control {config.rollout.delay_substeps} physics steps of 2 ms late",
            "randomised": f"delayed; training.randomization.MODERATE; sensor noise: {noise}",
            "rounds": "each round's student on other episodes: nominal / randomised",
            "pushes": "one jump of the base's velocity after 3 s; no fall within 4 s: recovered",
            "turns": "told another task after 2 to 4 s; no fall within 4 s: still up",
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
                for planner in ("search", "label", "mean", "demonstrator")
                if task in results.get(planner, {})
            }
            for task in teacher.tasks
        },
        "latency": {
            "student": report.latency(policy, config.report.latency_calls),
            "planner": {"p50_us": teacher.decision_us()},
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
    tasks, reference = list(card["retention"]), card["reference"]
    return json.dumps(
        {
            "policy": card["name"],
            **{
                task: {
                    **{
                        name: by_task[task]["mean"]
                        for name, by_task in card["results"].items()
                        if task in by_task
                    },
                    "retention": card["retention"][task][reference],
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
