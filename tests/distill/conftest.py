"""A debug teacher, trained once per session of tests."""

import dataclasses
from pathlib import Path

import pytest
import torch

from training.agent import build_model
from training.checkpoint import save_agent
from training.presets import load_config


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent file with random weights of debug size: its labels are arbitrary, but labels."""
    torch.manual_seed(0)
    config = dataclasses.replace(load_config(["preset=debug"]), tasks=("stand", "walk"))
    path = tmp_path_factory.mktemp("teacher") / "agent.safetensors"
    save_agent(path, build_model(config).state_dict(), config, {"updates": "0"})
    return path
