"""The door that compares with any recorded file: what it prints, refuses and catches."""

import json
import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from training import parity

FILE = Path(__file__).parents[1] / "golden" / "humanoidbench_h1.npz"


@pytest.fixture
def run(call_door):
    return partial(call_door, parity.main)


def altered(path, **changes):
    """Write maze's record with some arrays replaced by functions of themselves."""
    arrays = {f"maze/{key}": values for key, values in parity.read(FILE)["maze"].items()}
    for key, change in changes.items():
        arrays[f"maze/{key}"] = change(arrays[f"maze/{key}"])
    np.savez(path, **arrays)
    return path


def test_the_record_is_met_and_the_last_line_says_so_per_task_and_kind(run, tmp_path):
    plot = tmp_path / "drift.svg"
    status, output, _ = run(f"golden={FILE}", "tasks=[maze,reach]", f"plot={plot}")
    line = json.loads(output.splitlines()[-1])
    assert status == 0
    assert line["within"]
    assert set(line["errors"]) == {"maze", "reach"}
    assert set(parity.TOLERANCE) <= set(line["errors"]["maze"])
    assert line["errors"]["reach"]["state"] < 1e-9
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"f_rew": lambda values: values + 2e-6}, "state"),
        ({"f_obs": lambda values: values * np.nan}, "state"),
        ({"f_info": lambda values: values * (1 + 1e-5)}, "state"),
        ({"n_term": lambda values: ~values}, "step_terminated"),
        ({"n_rew": lambda values: values + 0.01}, "step_median"),
        ({"reset_obs": lambda values: values + 1e-5}, "reset"),
        ({"t_qpos": lambda values: values + 0.02}, "trajectory_10"),
    ],
)
def test_a_record_that_differs_is_caught_and_named(run, tmp_path, changes, kind):
    status, output, _ = run(f"golden={altered(tmp_path / 'other.npz', **changes)}")
    assert status == 1
    assert f"maze: {kind} is" in output
    assert not json.loads(output.splitlines()[-1])["within"]


def test_what_is_no_golden_file_is_refused_with_a_sentence(run, tmp_path):
    assert "golden=<file.npz> is missing" in run()[2]
    assert "nowhere.npz" in run("golden=nowhere.npz")[2]
    (tmp_path / "text.npz").write_text("no")
    assert run(f"golden={tmp_path / 'text.npz'}")[0] == 2
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    assert "expected keys as stand/s_qpos" in run(f"golden={tmp_path / 'other.npz'}")[2]
    arrays = {f"maze/{k}": v for k, v in parity.read(FILE)["maze"].items() if k != "n_rew"}
    np.savez(tmp_path / "part.npz", **arrays)
    assert "maze/n_rew" in run(f"golden={tmp_path / 'part.npz'}")[2]
    assert "tasks=['fly']" in run(f"golden={FILE}", "tasks=[fly]")[2]
