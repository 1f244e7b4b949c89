"""The door that scores: random, home, checkpoints and students, both protocols, one table."""

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
import torch

from training import evaluate as door
from training import published
from training.agent import Agent, build_model
from training.checkpoint import save_agent
from training.contenders import contenders
from training.evaluation import RANDOM_RETURN, Score, normalised, worth
from training.presets import PRESETS
from training.tasks import TASKS

FAST = ("episodes=2", "steps=12", "seed=3")


@pytest.fixture
def run(call_door):
    return partial(call_door, door.main)


@pytest.fixture
def agent_file(tmp_path):
    """An untrained agent of debug size that knows stand and balance_simple."""
    values = {"preset": "debug", "tasks": ("stand", "balance_simple")}
    config = PRESETS["debug"].__class__(**{**vars(PRESETS["debug"]), **values})
    torch.manual_seed(0)
    model = build_model(config)
    torch.nn.init.normal_(model.policy_head.last.weight, std=0.1)
    save_agent(tmp_path / "agent.safetensors", model.state_dict(), config, {})
    return tmp_path / "agent.safetensors"


def last_line(output):
    return json.loads(output.splitlines()[-1])


def test_home_is_scored_under_both_protocols_with_table_file_and_line(run, tmp_path):
    status, output, errors = run(
        "policy=home", "tasks=[walk,maze]", *FAST, f"out={tmp_path / 'scores.json'}"
    )
    assert status == 0
    line, file = last_line(output), json.loads((tmp_path / "scores.json").read_text())
    assert set(line["scores"]["home"]) == {"benchmark", "ezm"}
    scores = line["scores"]["home"]["ezm"]["tasks"]
    assert scores["maze"]["mean"] > 100  # the first checkpoint lies under the robot
    assert file["scores"] == line["scores"]
    assert len(file["episodes"]["home"]["ezm"]["walk"]["returns"]) == 2
    assert "walk" in output.splitlines()[1]
    assert "12 of 12" in errors


def test_protocols_differ_once_robots_fall(run):
    _, output, _ = run("policy=random", "tasks=pole", "episodes=2", "steps=110", "seed=0")
    scores = last_line(output)["scores"]["random"]
    lengths = [scores[protocol]["tasks"]["pole"]["length"] for protocol in ("benchmark", "ezm")]
    assert lengths[0] < lengths[1] == 110


def test_the_same_seed_scores_the_same_and_another_does_not(run):
    words = ("policy=random", "tasks=[reach]", "episodes=2", "steps=5", "protocol=ezm")
    first, again, other = (last_line(run(*words, f"seed={s}")[1])["scores"] for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_checkpoint_is_scored_as_planner_and_as_policy_mean_on_its_own_tasks(run, agent_file):
    status, output, _ = run(f"policy={agent_file}", *FAST, "protocol=benchmark")
    line = last_line(output)
    assert status == 0
    assert set(line["scores"]) == {"planner", "mean"}
    assert line["tasks"] == ["stand", "balance_simple"]
    assert line["action_map"] == PRESETS["debug"].collect.action_map == "stance"  # its own


def test_an_agent_plays_a_subset_of_its_tasks_as_the_task_it_learned(agent_file):
    """Alone in a batch, the second task must reach the model under its own index."""
    _, mean, *_ = contenders(str(agent_file))
    both = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
    alone = mean.begin(["balance_simple"], 0)(both, np.zeros(2, int))
    among = mean.begin(["stand", "balance_simple"], 0)(both, np.ones(2, int))
    assert np.array_equal(alone, among)
    assert not np.array_equal(among, mean.begin(["stand"], 0)(both, np.zeros(2, int)))


def test_normalised_scores_are_zero_for_random_and_one_at_the_bar():
    assert set(RANDOM_RETURN) == set(TASKS)
    for name, task in TASKS.items():
        assert normalised(name, RANDOM_RETURN[name]) == 0
        assert normalised(name, task.success_bar) == 1


def test_robots_with_hands_are_scored_as_one_without_and_other_tasks_by_their_return():
    assert normalised("h1hand-walk", 351.0) == normalised("walk", 351.0) == 0.5
    assert np.isnan(normalised("h1hand-cabinet", 5.0))
    scores = {
        name: Score(name, (value,), (1,))
        for name, value in (("h1hand-walk", 351.0), ("h1hand-cabinet", 5.0), ("h1hand-run", 900.0))
    }
    assert worth(scores) == pytest.approx((0.5 + 5.0 + 1.0) / 3)
    told = door.summary(scores)
    assert told["normalised_clipped_mean"] == 0.75  # of those that have a scale
    assert told["tasks_at_bar"] == 1
    assert told["tasks"]["h1hand-cabinet"]["normalised"] is None
    lines = door.table({"planner": {"ezm": scores}}, tuple(scores)).splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["h1hand-walk", "700"], ["h1hand-cabinet", "5.0"], ["h1hand-run", "700"],
    ]  # fmt: skip
    assert len({len(line) for line in lines}) == 1
    only = {"h1hand-cabinet": scores["h1hand-cabinet"]}
    assert door.summary(only)["normalised_mean"] is None
    door.table({"planner": {"ezm": only}}, tuple(only))


def test_random_has_an_action_for_every_actuator_of_the_robot():
    (player,) = contenders("random")
    assert player.begin(["walk"], 0)(np.zeros((2, 51)), np.zeros(2, int)).shape == (2, 19)
    assert player.begin(["h1hand-walk"], 0)(np.zeros((2, 151)), np.zeros(2, int)).shape == (2, 61)


@pytest.mark.parametrize(
    ("suite", "means"),  # as their sources print them: normalised, clipped
    [
        ("hb_medium", {"EZ-M": (0.895, 0.810), "BRC": (0.722, 0.665), "TD-MPC2": (0.850, 0.743),
                       "SimbaV2": (0.823, 0.719)}),
        ("hb_hard", {"EZ-M": (0.665, 0.615), "BRC": (0.396, 0.393), "TD-MPC2": (0.289, 0.289)}),
    ],
)  # fmt: skip
def test_published_returns_have_the_means_that_were_published(suite, means):
    tasks = PRESETS[suite].tasks
    others = published.of(tasks)
    assert set(others) == set(means)
    lines = published.table("us", dict.fromkeys(tasks, 0.0), others).splitlines()
    assert lines[2].split() == ["ours", *others]
    for line, index in ((lines[-2], 0), (lines[-1], 1)):
        shown = dict(zip(others, map(float, line.split()[2:]), strict=True))
        for method, expected in means.items():
            assert shown[method] == pytest.approx(expected[index], abs=0.002), (method, line)


def test_published_returns_stand_beside_ours_of_their_protocol(run, tmp_path):
    words = ("policy=random", "tasks=[walk,pole]", "episodes=1", "steps=3", "published=true")
    status, output, _ = run(*words, f"out={tmp_path / 'scores.json'}")
    line = last_line(output)
    assert status == 0
    assert line["published_returns"]["EZ-M"] == {"walk": 801.0, "pole": 858.0}
    assert "ours (random, ezm)" in output
    ours = line["scores"]["random"]["ezm"]["tasks"]["walk"]["mean"]
    assert f"walk{ours:>18.0f}       801       723       814       846" in output
    assert json.loads((tmp_path / "scores.json").read_text())["published_returns"]
    assert "our episodes last 3 steps, theirs 1000" in output
    assert "not comparable: ours act" not in output
    _, output, _ = run("policy=home", "tasks=[walk]", *FAST, "published=true", "action_map=home")
    assert "not comparable: ours act by the map 'home'" in output
    _, output, _ = run("policy=home", "tasks=[reach]", *FAST, "published=true")
    assert "nobody's returns on all of these tasks are known here" in output
    assert last_line(output)["published_returns"] == {}


def test_task_sets_are_names_for_their_tasks():
    config = door.load(["tasks=[medium,walk,reach]"])
    names = door.tasks_of(config, contenders("random"))
    assert len(names) == 10
    assert len(set(names)) == 10


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("tasks=[fly]",), "balance_hard"),
        (("tasks=[walk,h1hand-walk]",), "['h1hand-walk']: suite=ours has an h1 without hands"),
        (("tasks=[g1-walk]", "suite=real"), "['g1-walk']: random knows h1, h1hand"),
        (("device=cuda:9", "policy=models/h1_from_nothing/agent.safetensors"), "device='cuda:9'"),
        (("tasks=[h1hand-walk]", "policy=home", "suite=real"), "home knows stand, walk"),
        (("protocol=mine",), "benchmark, ezm, both"),
        (("suite=other",), "ours, real"),
        (("episodes=0",), "at least 1"),
        (("policy=nowhere",), "nowhere"),
        (("policy=nowhere.onnx",), "nowhere.onnx"),
        (("action_map=odd", "policy=home"), "benchmark"),
        (("episode=3",), "episodes"),
        (
            ("action_map=odd", "policy=random"),
            "'odd'; there are benchmark, home, stance",
        ),
        (("seed=-1",), "seed=-1: expected at least 0"),
        (("threads=0",), "threads=0: expected at least 1"),
        (("out=/proc/x/scores.json",), "out=/proc/x: expected a folder"),
        (("out=docs",), "out=docs is a folder"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_a_sentence(run, words, named, monkeypatch):
    monkeypatch.setattr(door, "score", None)  # nothing is scored before
    status, _, errors = run(*words)
    assert status == 2
    assert errors.startswith("error: ")
    assert named in errors


def test_control_c_while_scoring_ends_with_130_and_no_traceback(run, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(door, "score", interrupted)
    status, _, errors = run("policy=random", "tasks=[stand]")
    assert (status, errors) == (130, "interrupted; nothing was reported\n")


def test_a_disk_that_is_full_when_all_is_scored_is_a_sentence_beneath_the_table(
    run, monkeypatch, tmp_path
):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(door, "write_text", full)
    status, output, errors = run("policy=random", "tasks=[stand]", *FAST, f"out={tmp_path / 'x'}")
    assert status == 1
    assert "stand" in output and "No space left" in errors.splitlines()[-1]


def test_an_agent_is_not_scored_on_tasks_it_never_saw(run, agent_file):
    status, _, errors = run(f"policy={agent_file}", "tasks=[walk]", *FAST)
    assert status == 2
    assert "stand, balance_simple" in errors


def test_without_wide_candidates_the_search_is_asked_for_fewer_and_is_no_third_where_none_are(
    agent_file, tmp_path
):
    agent = Agent.load(agent_file)
    p = dataclasses.replace(agent.config.proposals, mean=1, narrow=4, wide=3)
    search = dataclasses.replace(agent.config.search, simulations=16)
    wide = dataclasses.replace(agent.config, proposals=p, search=search)
    weights = agent.model.state_dict()
    save_agent(tmp_path / "agent.safetensors", weights, wide, {})
    _, _, narrow = contenders(str(tmp_path))
    agent = Agent.load(tmp_path)
    observation, task = np.zeros((2, 64), np.float32), np.zeros(2, int)
    result = agent.plan(
        observation, task, planner=agent.with_search(proposals={"wide": 0}),
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    assert result.candidates.shape[1] == p.count - 3
    seen = narrow.begin(["stand"], 3)(observation, task)
    np.testing.assert_array_equal(seen, result.action)
    without = dataclasses.replace(wide, proposals=dataclasses.replace(p, wide=0))
    save_agent(tmp_path / "agent.safetensors", weights, without, {})
    assert [who.name for who in contenders(str(tmp_path))] == ["planner", "mean"]
