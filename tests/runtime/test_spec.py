"""PolicySpec: nothing is lost on the way, and every mismatch is refused by name."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import h1
from runtime.spec import (
    ObservationBlock,
    PolicySpec,
    SpecError,
    default_observation,
    spec_for_h1,
)


def whole_spec(**changes) -> PolicySpec:
    spec = spec_for_h1("test", ("stand", "walk"), "home", provenance={"git": "abc"})
    spec = dataclasses.replace(
        spec,
        golden_observation=tuple(np.linspace(-1, 1, spec.observation_size).tolist()),
        golden_action=(0.1,) * 19,
    )
    return dataclasses.replace(spec, **changes)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=19, max_size=19))
def test_json_round_trip_keeps_every_bit_of_every_float(values):
    spec = whole_spec(stiffness=tuple(values))
    assert PolicySpec.from_json(spec.to_json()) == spec


def test_a_whole_spec_validates():
    whole_spec().validate()


def test_default_observation_holds_only_what_a_robot_senses():
    blocks = default_observation(("stand", "walk", "run"), history=3)
    assert not any(block.sim_only for block in blocks)
    assert sum(b.size * b.history for b in blocks) == 3 * (3 + 3 + 2 + 19 + 19 + 19) + 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"spec_version": 99}, "spec_version"),
        ({"robot": "g1"}, "robot"),
        ({"control_dt": 0.01}, "control_dt"),
        ({"tasks": ()}, "tasks"),
        ({"joint_names": tuple(reversed(h1.JOINT_NAMES))}, "same joints in another order"),
        ({"joint_names": ("a",) * 19}, "other joints"),
        ({"default_pose": (0.0,) * 19}, "default_pose"),
        ({"stiffness": (200.0,) * 18}, "stiffness: expected 19"),
        ({"damping": (float("nan"),) * 19}, "damping"),
        ({"torque_limit": (1.0,) * 19}, "torque_limit"),
        ({"action_map": "elsewhere"}, "action_map"),
        ({"action_map": "benchmark"}, "action_offset"),
        ({"action_scale": (1.0,) * 19}, "action_scale"),
        ({"observation": (ObservationBlock("lidar", 3),)}, "lidar"),
        ({"observation": (ObservationBlock("gravity", 4), ObservationBlock("task", 2))}, "size 4"),
        ({"observation": (ObservationBlock("gravity", 3),)}, "no 'task' block"),
        (
            {"observation": (ObservationBlock("base_height", 1), ObservationBlock("task", 2))},
            "sim_only",
        ),
        ({"golden_observation": ()}, "golden_observation"),
        ({"golden_action": (float("nan"),) * 19}, "golden_action"),
    ],
)
def test_each_wrong_field_is_refused_by_name(change, says):
    with pytest.raises(SpecError, match=says):
        whole_spec(**change).validate()


def test_bad_json_is_refused_with_the_field():
    raw = json.loads(whole_spec().to_json())
    for text, says in [
        ("{", "not JSON"),
        ("[]", "JSON object"),
        (json.dumps(raw | {"colour": 1}), "colour"),
        (json.dumps({k: v for k, v in raw.items() if k != "tasks"}), "tasks"),
        (json.dumps(raw | {"stiffness": "stiff"}), "stiffness"),
        (json.dumps(raw | {"spec_version": "1"}), "spec_version"),
        (json.dumps(raw | {"observation": [{"name": "gravity"}]}), "observation"),
    ]:
        with pytest.raises(SpecError, match=says):
            PolicySpec.from_json(text)


def test_target_follows_the_action_map_and_stays_in_range():
    spec = whole_spec()
    np.testing.assert_allclose(spec.target(np.zeros(19)), h1.DEFAULT_POSE)
    for action in (np.full(19, -9.0), np.full(19, 9.0)):
        assert (spec.target(action) >= h1.JOINT_LOWER).all()
        assert (spec.target(action) <= h1.JOINT_UPPER).all()
    action = np.random.default_rng(0).uniform(-1, 1, (5, 19))
    np.testing.assert_allclose(
        spec.target(action), h1.action_map("home").target(action), atol=1e-12
    )
