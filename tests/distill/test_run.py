"""The door, end to end, with an untrained teacher of debug size."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from distill.config import DistillConfig, load_config
from distill.dagger import Distillation, best_round
from distill.pipeline import distil, open_folder
from distill.report import retention, warnings
from distill.run import main
from runtime.policy import load_policy
from training.agent import Agent
from training.cli import ConfigError

ROOT = Path(__file__).parents[2]


class Ending(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def door(monkeypatch, capsys):
    """Call the door in this process."""

    def call(*words: str) -> Ending:
        monkeypatch.setattr(sys, "argv", ["distill/run.py", *words])
        code = main()
        return Ending(code, *capsys.readouterr())

    return call


def words(teacher_file: Path, out: Path, *more: str) -> list[str]:
    return ["preset=debug", f"ckpt={teacher_file}", f"out={out}", *more]


@pytest.fixture(scope="module")
def finished(teacher_file, tmp_path_factory) -> tuple[Path, list[str]]:
    base = tmp_path_factory.mktemp("distilled")
    arguments = words(teacher_file, base / "out", f"ship={base / 'models'}")
    result = subprocess.run(
        [sys.executable, "distill/run.py", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return base, result.stdout.splitlines()


def test_the_last_line_is_json_with_every_controller_on_every_task(finished):
    last = json.loads(finished[1][-1])
    for task in ("stand", "walk"):
        assert {"random", "home", "mean", "search", "label", "student"} <= last[task].keys()
    assert last["student_us"] > 0


def test_what_is_shipped_loads_as_a_policy_with_provenance_and_acts(finished):
    base, _ = finished
    shipped = base / "models"
    assert sorted(path.name for path in shipped.iterdir()) == [
        "card.json", "policy.onnx", "teacher.safetensors",
    ]  # fmt: skip
    policy = load_policy(shipped / "policy.onnx")
    assert policy.spec.sim_only == ()
    assert {"commit", "date", "teacher_sha256", "teacher_updates"} <= policy.spec.provenance.keys()
    action = policy.infer(np.zeros(policy.spec.observation_size, np.float32))
    assert action.shape == (19,)


def test_the_card_names_protocol_seed_commit_and_no_machine_path(finished, teacher_file):
    base, _ = finished
    text = (base / "out" / "card.json").read_text()
    card = json.loads(text)
    assert card["protocol"]["action_map"] == Agent.load(teacher_file).action_map
    assert card["protocol"]["termination"] == "HumanoidBench's"
    assert card["parity_max_difference"] <= 1e-5
    assert {"commit", "seed", "command", "rounds", "latency", "retention"} <= card.keys()
    assert str(base) not in text


def test_the_shipped_teacher_plans_like_the_one_that_taught(finished, teacher_file):
    base, _ = finished
    shipped = Agent.load(base / "models" / "teacher.safetensors")
    original = Agent.load(teacher_file)
    observation = np.random.default_rng(0).normal(size=(4, 51)).astype(np.float32)
    task = np.array([0, 1, 0, 1])
    np.testing.assert_allclose(
        shipped.policy_mean(observation, task), original.policy_mean(observation, task), atol=5e-3
    )


def test_an_interrupted_distillation_ends_with_the_same_student(
    finished, teacher_file, tmp_path, monkeypatch, door
):
    base, _ = finished
    arguments = words(teacher_file, tmp_path / "out")
    original = Distillation._round

    def interrupted(self: Distillation, number: int) -> dict:
        if number == 1:
            self._chunk(number)  # the data are there, the fit is not
            raise KeyboardInterrupt
        return original(self, number)

    monkeypatch.setattr(Distillation, "_round", interrupted)
    with pytest.raises(KeyboardInterrupt):
        distil(load_config(arguments), arguments)
    assert not (tmp_path / "out" / "policy.onnx").exists()
    monkeypatch.undo()
    assert door(*arguments).code == 0
    last = Path("rounds/01/student.safetensors")
    assert (tmp_path / "out" / last).read_bytes() == (base / "out" / last).read_bytes()


def test_the_report_lies_beside_the_card_and_int8_has_its_observations(finished):
    base, _ = finished
    text = (base / "out" / "report.md").read_text()
    card = json.loads((base / "out" / "card.json").read_text())
    assert f"commit {card['commit']}" in text and "student_randomised" in text
    assert "<svg" in (base / "out" / "report.html").read_text()
    rows = np.load(base / "out" / "calibration.npy")
    assert rows.shape[1] == load_policy(base / "out" / "policy.onnx").spec.observation_size


def test_the_card_shows_both_protocols_randomised_robots_pushes_and_effort(finished):
    card = json.loads((finished[0] / "out" / "card.json").read_text())
    for name in ("student", "student_delayed", "student_randomised", "search", "search_randomised"):
        cell = card["results"][name]["walk"]
        assert {"ezm", "falls", "action_rate", "torque", "power", "speed"} <= cell.keys()
    assert {"student", "student_randomised", "search"} == card["pushes"].keys()
    assert card["best_round"] in (0, 1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("metrics.json", "delete it"),
        ("data.safetensors", "delete that file"),
        ("student.safetensors", "delete the folder"),
    ],
)
def test_a_round_that_was_cut_short_is_refused_with_what_to_do(
    finished, teacher_file, tmp_path, door, name, expected
):
    base, _ = finished
    shutil.copytree(base / "out", tmp_path / "out")
    best = json.loads((base / "out" / "card.json").read_text())["best_round"]
    file = tmp_path / "out" / "rounds" / f"{best:02d}" / name
    file.write_bytes(file.read_bytes()[:-20])
    result = door(*words(teacher_file, tmp_path / "out"))
    assert result.code == 2
    assert expected in result.err and name in result.err


def test_the_best_measured_round_is_kept_and_without_measurements_the_last():
    worth = [0.2, 0.9, 0.4]
    assert best_round([{"round": i, "worth": x} for i, x in enumerate(worth)]) == 1
    assert best_round([{"round": i} for i in range(3)]) == 2


def test_a_finished_distillation_goes_on_with_more_rounds(finished, teacher_file, tmp_path, door):
    base, _ = finished
    shutil.copytree(base / "out", tmp_path / "out")
    more = ("rollout.rounds=3", "report.push_sizes=[]", "report.steps=10")
    result = door(*words(teacher_file, tmp_path / "out", *more))
    assert result.code == 0, result.err
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert [row["updates"] for row in card["rounds"]] == [20, 40, 40]
    old = json.loads((base / "out" / "card.json").read_text())["rounds"]
    assert card["rounds"][:2] == old


def test_a_distillation_begins_with_another_ones_student(finished, teacher_file, tmp_path, door):
    from safetensors.torch import load_file

    first = finished[0] / "out/rounds/01/student.safetensors"
    more = [f"init={first}", "rollout.beta_rounds=0", "rollout.rounds=1", "fit.final_updates=1",
            "fit.lr=1e-12", "report.round_episodes=0"]  # fmt: skip
    assert door(*words(teacher_file, tmp_path / "next", *more)).code == 0
    before, after = load_file(first), load_file(tmp_path / "next/rounds/00/student.safetensors")
    moved = [k for k in after if not np.allclose(before[k], after[k], atol=1e-5)]
    assert all("mean" in name or "std" in name for name in moved)  # the inputs' statistics
    record = json.loads((tmp_path / "next/rounds/00/metrics.json").read_text())
    assert record["beta"] == 0.0


def test_a_student_of_another_size_is_no_beginning(finished, teacher_file, tmp_path, door):
    first = finished[0] / "out/rounds/01/student.safetensors"
    for name, more in (
        ("size", [f"init={first}", "student.hidden=[8]"]),
        ("none", ["init=nowhere.safetensors"]),
    ):
        ending = door(*words(teacher_file, tmp_path / name, *more))
        assert ending.code == 2
        assert "init=" in ending.err


def test_the_mean_of_the_last_rounds_can_be_kept(finished, teacher_file, tmp_path, door):
    from safetensors.torch import load_file

    from distill.dagger import mean_student
    from distill.student import make_student

    shutil.copytree(finished[0] / "out", tmp_path / "out")
    ending = door(*words(teacher_file, tmp_path / "out", "fit.average=2", "report.episodes=1"))
    assert ending.code == 0, ending.err
    assert "mean of the students of rounds 0 to 1 is kept" in ending.out
    rounds = [load_file(tmp_path / f"out/rounds/0{i}/student.safetensors") for i in (0, 1)]
    kept = load_file(tmp_path / "out/student.safetensors")
    for name, tensor in kept.items():
        wanted = (rounds[0][name].double() + rounds[1][name].double()) / 2
        assert np.allclose(tensor, wanted, atol=1e-6), name
    policy = load_policy(tmp_path / "out/policy.onnx")
    students = []
    for weights in rounds:
        student = make_student(policy.spec, load_config(words(teacher_file, tmp_path)).student, 0)
        student.load_state_dict(weights)
        students.append(student.eval())
    observation = np.random.default_rng(0).normal(size=policy.spec.observation_size)
    observation = observation.astype(np.float32)
    mean = mean_student(students)
    assert all(
        np.allclose(value, (rounds[0][key] + rounds[1][key]) / 2, atol=1e-6)
        for key, value in mean.state_dict().items()
    )
    np.testing.assert_allclose(
        policy.infer(observation), mean.infer(observation[None])[0], atol=1e-5
    )


def test_another_distillation_in_the_same_folder_is_refused(finished, teacher_file, door):
    base, _ = finished
    result = door(*words(teacher_file, base / "out", "seed=7"))
    assert result.code == 2
    assert "seed" in result.err and "out=" in result.err


def test_a_folder_from_before_a_key_was_there_goes_on_as_by_its_default(tmp_path):
    teacher = types.SimpleNamespace(facts={"sha256": "x"})
    config = dataclasses.replace(DistillConfig(), out=str(tmp_path))
    file = open_folder(config, teacher) / "config.json"
    held = json.loads(file.read_text())
    del held["init"], held["rollout"]["push_speed"]
    file.write_text(json.dumps(held))
    harder = dataclasses.replace(config.rollout, push_speed=0.8)
    with pytest.raises(ConfigError, match=r"other rollout"):
        open_folder(dataclasses.replace(config, rollout=harder), teacher)
    open_folder(config, teacher)
    assert json.loads(file.read_text())["rollout"]["push_speed"] == 0.3


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["ckpt=nowhere"], "no checkpoint at nowhere"),
        (["rollout.stps=3"], "stps"),
        (["label.target=median"], "best, weighted"),
        (["tasks=[hurdle]"], "stand"),
        (["student.history=many"], "many"),
        (["rollout.rounds=0"], "at least 1"),
        (["fit.average=-1"], "at least 0"),
    ],
)
def test_bad_words_are_refused_in_a_sentence(door, teacher_file, tmp_path, more, expected):
    result = door(*words(teacher_file, tmp_path / "out", *more))
    assert result.code == 2
    assert expected in result.err and "Traceback" not in result.err


def test_a_forgotten_checkpoint_is_asked_for():
    with pytest.raises(ConfigError, match="ckpt="):
        load_config(["preset=debug"])


def test_a_truncated_agent_file_is_refused(door, teacher_file, tmp_path):
    short = tmp_path / "agent.safetensors"
    shutil.copy(teacher_file, short)
    short.write_bytes(short.read_bytes()[:1000])
    result = door(*words(short, tmp_path / "out"))
    assert result.code == 2 and "not a complete safetensors file" in result.err


def test_retention_is_one_for_the_planner_and_zero_for_random():
    assert retention(300.0, 100.0, 300.0) == 1.0
    assert retention(100.0, 100.0, 300.0) == 0.0
    assert retention(100.0, 100.0, 50.0) is None


def test_a_student_that_loses_to_random_is_announced():
    means = {"student": 1.0, "random": 2.0, "search": 3.0}
    results = {name: {"walk": {"mean": mean}} for name, mean in means.items()}
    assert "loses to random" in warnings(results, ("walk",), "search")[0]
