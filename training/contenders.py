"""Who can be scored: random, the home pose, guests, and a checkpoint's planner, its search without
wide candidates where it has any ("narrow"), and its policy mean. One whose tasks are told in words
is scored with phrases that it never heard, too.

A guest is a kind of file that training knows nothing of: whoever does know says so in `GUESTS`,
a function that is looked up by name only when such a file is given.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from runtime import h1
from training import demonstrator, language
from training.agent import Agent
from training.cli import ConfigError
from training.evaluation import ActFunction
from training.suites import open_device, robot
from training.tasks import TASKS

ACTUATORS = {"h1": h1.NUM_JOINTS, "h1hand": 61}  # by robot, for actions at random

# suffix -> "module:function" taking the path and returning a Contender
GUESTS = {".onnx": "distill.contender:load"}


@dataclass(frozen=True)
class Contender:
    """Something that acts; `begin(tasks, seed)` returns it fresh, for one call of `evaluate`."""

    name: str
    action_map: str
    tasks: tuple[str, ...]  # that it knows; empty: all
    begin: Callable[[Sequence[str], int], ActFunction]


def contenders(policy: str, action_map: str = "benchmark", device: str = "cpu") -> list[Contender]:
    """Return who is behind a word of the command line: random, home, or a path.

    `device` is where an agent's networks are; the others' are on the CPU.

    Raises:
        CheckpointError, ValueError: the path holds nothing that can act.
    """
    if policy == "random":
        return [Contender("random", action_map, (), _random)]
    if policy == "home":
        pose = h1.action_map(action_map).action(h1.DEFAULT_POSE).clip(-1, 1)
        return [
            Contender(
                "home", action_map, tuple(TASKS), lambda *_: lambda o, t: np.tile(pose, (len(o), 1))
            )
        ]
    suffix = Path(policy).suffix
    if suffix in GUESTS:
        module, function = GUESTS[suffix].split(":")
        return [getattr(importlib.import_module(module), function)(policy)]
    if is_demonstrator(policy):
        return [_of_demonstrator(policy)]
    agent = Agent.load(policy)
    return _of_agent(Agent(agent.model.to(open_device(device)), agent.config, agent.facts))


def is_demonstrator(path: str) -> bool:
    """Tell whether a file was written by training/demonstrator.py."""
    if Path(path).suffix != ".safetensors" or not Path(path).is_file():
        return False
    try:
        with safe_open(path, framework="np") as file:
            return (file.metadata() or {}).get("format") == demonstrator.FORMAT
    except SafetensorError:
        return False


def _of_demonstrator(path: str) -> Contender:
    sac, config = demonstrator.load(path)

    def begin(tasks: Sequence[str], seed: int) -> ActFunction:
        index = np.array([config.tasks.index(name) for name in tasks])
        return lambda o, t: demonstrator.actions(sac, o, index[t])

    return Contender("demonstrator", config.action_map, config.tasks, begin)


def _random(tasks: Sequence[str], seed: int) -> ActFunction:
    generator = np.random.default_rng(seed)
    width = max(ACTUATORS[robot(name)] for name in tasks)
    return lambda o, t: generator.uniform(-1.0, 1.0, (len(o), width))


def told_otherwise(agent: Agent) -> Agent | None:
    """Return the agent told its tasks by held-out phrases; None if it is not told, or not by them.

    The phrases' file is looked for where training had it: `language` of its configuration.
    """
    if not agent.config.language:
        return None
    try:
        phrases = language.read(Path(agent.config.language), agent.tasks)
    except ConfigError as error:
        print(f"held-out phrases are not scored: {error}", file=sys.stderr)
        return None
    heard = agent.model.get_buffer("task_embedding.phrases")
    if heard.shape != phrases.known.shape or not torch.allclose(heard.cpu(), phrases.known):
        print(f"held-out phrases are not scored: {agent.config.language} is not the file that "
              "the agent learnt with", file=sys.stderr)  # fmt: skip
        return None
    return Agent(language.told(agent.model, phrases.held_out), agent.config, agent.facts)


def _of_agent(agent: Agent) -> list[Contender]:
    def search(agent: Agent, **proposals: int) -> Callable[[Sequence[str], int], ActFunction]:
        planner = agent.with_search(proposals=proposals)

        def begin(tasks: Sequence[str], seed: int) -> ActFunction:
            index = np.array([agent.task_index(name) for name in tasks])
            generator = torch.Generator(agent.device).manual_seed(seed)
            return lambda o, t: agent.plan(o, index[t], planner=planner, generator=generator).action

        return begin

    def mean(tasks: Sequence[str], seed: int) -> ActFunction:
        index = np.array([agent.task_index(name) for name in tasks])
        return lambda o, t: agent.policy_mean(o, index[t])

    ways = {"planner": search(agent), "mean": mean}
    p = agent.config.proposals
    if p.wide and p.narrow + p.mean > 1:  # a third, since wide candidates are for learning
        ways["narrow"] = search(agent, wide=0)
    other = told_otherwise(agent)
    if other is not None:
        ways["planner, held-out phrases"] = search(other)
    return [
        Contender(name, agent.action_map, tuple(agent.tasks), way) for name, way in ways.items()
    ]
