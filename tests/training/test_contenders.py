"""Who is behind a checkpoint: an agent that is told its tasks in words is told new ones too."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from training import language
from training.agent import build_model
from training.checkpoint import save_agent
from training.contenders import contenders
from training.presets import PRESETS
from training.tasks import TASKS


@pytest.fixture
def told(tmp_path):
    """An untrained agent of debug size that is told its tasks, and the file of its phrases."""
    file = tmp_path / "phrases.safetensors"
    texts = language.instructions(list(TASKS))
    language.write(file, texts, language.open_encoder("hashed-ngrams-256"))
    config = dataclasses.replace(PRESETS["debug"], language=str(file))
    torch.manual_seed(0)
    model = build_model(config)
    torch.nn.init.normal_(model.policy_head.last.weight, std=0.1)
    save_agent(tmp_path / "agent.safetensors", model.state_dict(), config, {})
    return tmp_path / "agent.safetensors", file, config


def test_an_agent_told_in_words_is_scored_with_phrases_it_never_heard(told):
    path, _, config = told
    planner, *_, other = contenders(str(path))
    assert (planner.name, other.name) == ("planner", "planner, held-out phrases")
    seen = np.random.default_rng(0).normal(size=(1, 51)).astype(np.float32), np.zeros(1, int)
    heard, anew = (who.begin(config.tasks, 0)(*seen) for who in (planner, other))
    assert heard.shape == anew.shape
    assert not np.array_equal(heard, anew)


@pytest.mark.parametrize("spoil", ["gone", "another"])
def test_where_its_phrases_are_gone_or_others_that_is_said(told, capsys, spoil):
    path, file, _ = told
    if spoil == "gone":
        file.unlink()
    else:
        texts = language.instructions(list(TASKS))
        language.write(file, texts, language.open_encoder("hashed-ngrams-128"))
    assert "planner, held-out phrases" not in [who.name for who in contenders(str(path))]
    said = capsys.readouterr().err
    assert "held-out phrases are not scored" in said
    assert str(file) in said
