"""A demonstrator in a teacher's place, and beside a planner."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from distill.config import LabelConfig
from distill.demonstrated import Demonstrated, load_guide
from distill.run import main
from distill.teacher import Teacher
from training import demonstrator, features
from training.cli import ConfigError, to_dict
from training.sac import Sac, SacConfig


@pytest.fixture(scope="module")
def demonstrator_file(tmp_path_factory):
    """A demonstrator with random weights."""
    torch.manual_seed(1)
    config = demonstrator.DemonstratorConfig(tasks=("stand", "walk"), sac=SacConfig(width=8))
    sac = Sac(features.SIZE, 19, 2, config.sac)
    tensors = {
        f"{part}.{name}": tensor.contiguous()
        for part in ("normalizer", "average")
        for name, tensor in sac.modules()[part].state_dict().items()
    }
    path = tmp_path_factory.mktemp("demonstrator") / "best.safetensors"
    facts = {"config": json.dumps(to_dict(config)), "format": demonstrator.FORMAT, "updates": "9"}
    save_file(tensors, path, metadata=facts)
    return path


def test_its_labels_are_its_actions_and_it_is_named_as_the_reference(demonstrator_file):
    guide = load_guide(str(demonstrator_file), LabelConfig(), ("walk",))
    assert isinstance(guide, Demonstrated)
    observation = np.random.default_rng(0).normal(size=(3, 51)).astype(np.float32)
    labels = guide.labels(observation, np.zeros(3, int), torch.Generator(), guide.wanted)
    sac, _ = demonstrator.load(demonstrator_file)
    np.testing.assert_array_equal(
        labels[guide.wanted[0]], demonstrator.actions(sac, observation, np.ones(3, int))
    )
    assert guide.reference == "demonstrator"
    assert guide.facts["updates"] == "9"


def test_an_agents_file_is_a_planner(teacher_file):
    assert isinstance(load_guide(str(teacher_file), LabelConfig()), Teacher)


def test_a_task_it_was_not_trained_on_is_refused_with_those_it_was(demonstrator_file):
    with pytest.raises(ConfigError, match=r"stand.*walk.*run"):
        load_guide(str(demonstrator_file), LabelConfig(), ("run",))


def test_a_file_that_is_no_demonstrators_is_refused(teacher_file):
    with pytest.raises(ConfigError, match=r"best\.safetensors"):
        Demonstrated.load(teacher_file)


def test_a_value_to_fit_is_refused_of_a_teacher_without_one(
    demonstrator_file, tmp_path, monkeypatch, capsys
):
    words = ["preset=debug", f"ckpt={demonstrator_file}", f"out={tmp_path / 'o'}", "fit.value=0.1"]
    monkeypatch.setattr("sys.argv", ["run.py", *words])
    assert main() == 2
    assert "fit.value" in capsys.readouterr().err


def test_a_card_with_a_demonstrator_beside_the_planner_shows_both(
    demonstrator_file, teacher_file, tmp_path, monkeypatch, capsys
):
    words = ["preset=debug", f"ckpt={teacher_file}", f"out={tmp_path / 'o'}", "tasks=[stand]"]
    words += [f"demonstrator={demonstrator_file}", "rollout.rounds=1", "report.push_sizes=[]"]
    monkeypatch.setattr("sys.argv", ["run.py", *words, "report.steps=10"])
    assert main() == 0
    card = json.loads((tmp_path / "o" / "card.json").read_text())
    assert {"demonstrator", "demonstrator_randomised", "search"} <= card["results"].keys()
    assert "demonstrator" in card["retention"]["stand"]


def test_a_student_of_the_demonstrator_alone_says_so_first(
    demonstrator_file, tmp_path, monkeypatch, capsys
):
    words = ["preset=debug", f"ckpt={demonstrator_file}", f"out={tmp_path / 'o'}", "tasks=[stand]"]
    monkeypatch.setattr(
        "sys.argv",
        ["run.py", *words, "rollout.rounds=1", "report.push_sizes=[]", "report.steps=10"],
    )
    assert main() == 0
    text = (tmp_path / "o" / "report.md").read_text()
    assert "not a planner" in text[:300]
    card = json.loads((tmp_path / "o" / "card.json").read_text())
    assert card["teacher"]["kind"] == "demonstrator"
    assert list(card["retention"]["stand"]) == ["demonstrator"]
