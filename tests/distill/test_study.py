"""The studies' door, and that candidates really share their states."""

import json

import numpy as np
import pytest

from distill import study as door
from distill.candidates import CANDIDATES, Candidate, Shared, columns_of
from distill.config import StudentConfig
from distill.student import make_spec
from distill.teacher import Teacher
from runtime.observation import Memory, observe, remember
from runtime.state import Command, state_from_generalized
from training.cli import ConfigError, choose


@pytest.fixture
def words(teacher_file, tmp_path):
    return ["preset=debug", f"ckpt={teacher_file}", f"out={tmp_path / 'study'}", "tasks=[stand]"]


def run(words, monkeypatch, capsys) -> dict:
    monkeypatch.setattr("sys.argv", ["study.py", *words])
    assert door.main() == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize(
    ("what", "only"),
    [
        ("targets", ["best", "gaussian", "mean", "best + value"]),
        ("sizes", ["1 x 256x256", "8 x 64x64"]),
        ("rollouts", ["as before", "all"]),
    ],
)
def test_a_study_ends_with_a_line_of_every_candidate(
    words, what, only, monkeypatch, capsys, tmp_path
):
    last = run([*words, f"what={what}", f"only={only}"], monkeypatch, capsys)
    assert set(only) <= last.keys()
    assert {"clean", "randomised"} == last[only[0]].keys()
    file = json.loads((tmp_path / "study" / f"{what}.json").read_text())
    assert [row["name"] for row in file["rows"]] == only
    assert all(row["us"] > 0 and row["weights"] > 0 for row in file["rows"])


def test_measuring_first_shows_search_policy_and_chance(words, monkeypatch, capsys):
    last = run([*words, "what=teacher"], monkeypatch, capsys)
    assert {"random", "home", "mean", "sampled", "search", "label"} <= last[
        "random, teacher"
    ].keys()


def test_averaged_labels_are_less_noisy_than_the_best_and_the_policy_is_not_at_all(
    words, monkeypatch, capsys
):
    last = run([*words, "what=labels"], monkeypatch, capsys)["labels"]
    assert last["mean"] == {"noise": 0.0, "moved": 0.0}
    assert 0 < last["weighted"]["noise"] < last["best"]["noise"]


def test_the_narrow_observation_is_what_a_shorter_memory_sees():
    """Oracle: `observe` with the shorter layout."""
    specs = [make_spec("t", ("stand",), "home", StudentConfig(history=h)) for h in (5, 2)]
    memories = [Memory.create(spec) for spec in specs]
    random, seen = np.random.default_rng(0), []
    for _ in range(7):
        state = state_from_generalized(random.normal(size=26), random.normal(size=25))
        seen = [
            observe(state, Command("stand"), spec, memory)
            for spec, memory in zip(specs, memories, strict=True)
        ]
        for memory in memories:
            remember(memory, random.normal(size=19) * 0 + 0.5)
    np.testing.assert_array_equal(seen[0][columns_of(*specs).numpy()], seen[1])


def test_all_students_learn_from_the_same_states_and_drive_in_turn(words, teacher_file):
    config = choose([*words, "what=sizes"], door.PRESETS, "study")
    group = [Candidate("a", student=(("history", 2),)), Candidate("b", target="weighted")]
    shared = Shared(config, Teacher.load(teacher_file, config.label, ("stand",)), group)
    for number in range(2):
        shared.round(number)
    assert [chunk.labels.keys() for chunk in shared.chunks] == [{"best", "weighted"}] * 2
    one, two = shared.pupils["a"], shared.pupils["b"]
    assert len(one.seen) == len(two.seen)
    seen = shared.chunks[-1].observation[: shared.chunks[-1].rows]
    answers = shared._driver(1)(seen)
    for row, pupil in enumerate([two, one, two]):
        own = np.ascontiguousarray(seen[row : row + 1, pupil.columns.numpy()])
        np.testing.assert_allclose(answers[row], pupil.student.infer(own)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("what=speed", "teacher, labels"), ("only=[median]", "best, weighted")],
)
def test_a_study_that_does_not_exist_is_refused_with_those_that_do(words, word, expected):
    with pytest.raises(ConfigError, match=expected):
        choose([*words, word], door.PRESETS, "study")


def test_every_candidate_of_a_study_has_a_name_of_its_own():
    for entries in CANDIDATES.values():
        assert len({entry.name for entry in entries}) == len(entries)
