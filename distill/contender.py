"""An ONNX student as `training/evaluate.py` scores it, beside random, planner and policy mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distill.report import student_controller
from runtime.policy import load_policy
from training.contenders import Contender
from training.evaluation import ActFunction


def load(path: str) -> Contender:
    """Return the student in an ONNX file.

    Raises:
        PolicyError, SpecError: there is none, or it does not fit this robot.
    """
    policy = load_policy(path)
    spec = policy.spec

    def begin(tasks: Sequence[str], seed: int) -> ActFunction:
        index = np.array([spec.tasks.index(name) for name in tasks])
        act = student_controller(spec, policy.infer)
        return lambda observation, task: act(observation, index[task])

    return Contender("student", spec.action_map, tuple(spec.tasks), begin)
