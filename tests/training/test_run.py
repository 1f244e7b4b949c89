"""The door: train, resume, refuse."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training import run as module
from training.agent import Agent

ROOT = Path(__file__).parents[2]
HOLDER = """import sys
from pathlib import Path
from training.lock import alone

with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def door(*words):
    return subprocess.run(
        [sys.executable, "training/run.py", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train the debug preset on the real robot's environment; return folder and output."""
    folder = tmp_path_factory.mktemp("runs") / "debug"
    result = door("preset=debug", f"out={folder}", "evaluate_episodes=1")
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_the_debug_preset_trains_evaluates_and_leaves_an_agent_that_plans(run):
    folder, output = run
    assert "evaluation at 40: search stand" in output
    agent = Agent.load(folder)
    plan = agent.plan(np.zeros((1, 51)), np.zeros(1, int))
    assert plan.action.shape == (1, 19)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["updates"] == 40
    assert any("eval_search/walk" in row for row in rows)
    best = json.loads((folder / "best.json").read_text())
    assert best["checkpoint"] == "00000040" and best["returns"].keys() == {"stand", "walk"}
    assert Agent.load(folder / "best").tasks == agent.tasks


@pytest.fixture
def door_here(monkeypatch, capsys):
    """Return the door as a function in this process: words -> exit code, output, errors."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["run.py", *words])
        code = module.main()
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_the_same_command_again_resumes_and_finds_nothing_to_do(run, door_here):
    code, output, _ = door_here("preset=debug", f"out={run[0]}", "evaluate_episodes=1")
    assert code == 0
    assert "resumed" in output
    assert "at 40 updates" in output


def test_another_model_in_the_same_folder_is_refused_in_one_sentence(run, door_here):
    code, _, errors = door_here("preset=debug", f"out={run[0]}", "model.width=40")
    assert code == 2
    assert "cannot resume from" in errors
    assert "model.width is 32 there, 40 here" in errors
    assert "another out=" in errors
    assert len(errors.splitlines()) == 1


def test_help_lists_the_keys_of_the_preset_and_trains_nothing(tmp_path, door_here):
    code, output, _ = door_here("preset=debug", f"out={tmp_path / 'x'}", "--help")
    assert code == 0
    assert "optim.batch=16" in output
    assert not (tmp_path / "x").exists()


def test_a_typo_is_an_error_of_one_line_with_the_right_word(tmp_path, door_here):
    code, _, errors = door_here("preset=debug", f"out={tmp_path / 'x'}", "optim.lrr=3")
    assert code == 2
    assert errors.startswith("error: ")
    assert "lr" in errors
    assert not (tmp_path / "x").exists()


def test_a_folder_where_another_process_trains_is_refused_and_left_alone(run, door_here):
    folder, _ = run
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout and holder.stdout.readline() == "held\n"
    before = (folder / "metrics.jsonl").read_bytes()
    code, _, errors = door_here("preset=debug", f"out={folder}", "evaluate_episodes=1")
    assert code == 2
    assert f"out={folder}: another process trains there" in errors
    assert (folder / "metrics.jsonl").read_bytes() == before
    holder.kill()  # whoever dies holds nothing
    holder.wait()
    code, _, errors = door_here("preset=debug", f"out={folder}", "evaluate_episodes=1")
    assert (code, errors) == (0, "")
