import json

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from distill.ship import HEADER, enter, portable, row, ship

CARD = {
    "date": "2026-01-01",
    "commit": "abc",
    "protocol": {"action_map": "home"},
    "latency": {"student": {"p50_us": 41.6}},
    "results": {
        who: {"walk": {"mean": value}}
        for who, value in (("student", 90.2), ("search", 100.0), ("random", 2.0))
    },
    "retention": {"walk": {"search": 0.9}},
}


def test_a_row_of_the_ledger_shows_student_planner_random_and_retention():
    assert row("h1", CARD) == (
        "| `h1` | 2026-01-01 | abc | home | walk: 90 / 100 / 2 (0.90) | 42 |\n"
    )


def test_a_model_shipped_again_replaces_its_row_and_no_other():
    text = enter(enter("# Models\n", "a", "| `a` | 1 |\n"), "b", "| `b` | 1 |\n")
    again = enter(text, "a", "| `a` | 2 |\n")
    assert again.count("`a`") == 1
    assert "| `a` | 2 |" in again and "| `b` | 1 |" in again
    assert again.count(HEADER) == 1


def test_folders_of_the_machine_stay_at_home():
    said = {"command": "run.py ckpt=/srv/me/runs/a/agent demos=/x/y/one.st,/x/two.st out=runs/b"}
    assert portable({"a": [said, 3, None]})["a"] == [
        {"command": "run.py ckpt=agent demos=one.st,two.st out=runs/b"}, 3, None
    ]  # fmt: skip
    assert portable(["/tmp/x/policy.onnx", "m/s", "a / b"]) == ["policy.onnx", "m/s", "a / b"]


def test_what_is_shipped_is_the_same_weights_without_those_folders(tmp_path):
    folder, target = tmp_path / "run", tmp_path / "models" / "h1"
    folder.mkdir()
    (folder / "policy.onnx").write_bytes(b"graph")
    (folder / "card.json").write_text(json.dumps(CARD | {"config": {"out": "/srv/me/x"}}))
    weights = {"w": np.arange(6, dtype=np.float16)}
    facts = {"config": json.dumps({"out": "/srv/me/x", "lr": 1e-4}), "updates": "7"}
    save_file(weights, folder / "teacher.safetensors", metadata=facts)
    ship(folder, target, CARD)
    assert (target / "policy.onnx").read_bytes() == b"graph"
    assert json.loads((target / "card.json").read_text())["config"] == {"out": "x"}
    assert np.array_equal(load_file(target / "teacher.safetensors")["w"], weights["w"])
    with safe_open(target / "teacher.safetensors", framework="np") as file:
        said = file.metadata()
    assert json.loads(said["config"]) == {"out": "x", "lr": 1e-4}
    assert said["updates"] == "7"
    assert "`h1`" in (target.parent / "README.md").read_text()
    assert not list(target.glob("*.part"))
