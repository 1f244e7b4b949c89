"""Studies: which runs they make, that samples per task are equal, and what they report."""

import dataclasses
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from training import demos, study, study_demos, study_runs
from training.charts import Line, draw
from training.cli import ConfigError, to_dict
from training.lock import alone
from training.presets import PRESETS
from training.study import (
    StudyConfig,
    plan_demos,
    plan_language,
    plan_levers,
    plan_scheduler,
    plan_tasks,
    split,
)
from training.study_report import report, spread_over_seeds, table
from training.study_runs import Result, Run, train_and_score
from training.toy import GOALS, TOY, TOYS, move, reward, rotation

SHORT = dataclasses.replace(
    TOY, updates=4, segment=4, evaluate_every=4, cosine_every=2, log_every=2,
    collect=dataclasses.replace(TOY.collect, envs_per_task=2, random_steps=20),
)  # fmt: skip


def result(label, seed, scores, tasks=("left", "right")):
    config = dataclasses.replace(TOY, seed=seed, tasks=tasks)
    by_task = {"search": dict(zip(tasks, scores, strict=True)), "mean": dict.fromkeys(tasks, 0.5)}
    curves = {"cosine/dynamics": [(1.0, 0.0), (2.0, 0.4)], "train_return/left": [(1.0, 3.0)]}
    return Result(Run(label, config), by_task, curves, 1200, "abc")


def test_at_every_count_each_task_is_trained_once_with_the_same_share_of_batch_and_rows():
    runs = plan_tasks(StudyConfig(counts=(1, 3, 9)), TOY)
    assert [len(run.config.tasks) for run in runs] == [1] * 9 + [3] * 3 + [9]
    for count in (1, 3, 9):
        members = [run for run in runs if run.label == str(count)]
        assert sorted(t for run in members for t in run.config.tasks) == sorted(GOALS)
    shares = {run.config.optim.batch / len(run.config.tasks) for run in runs}
    rows = {(run.config.collect.envs_per_task, run.config.updates) for run in runs}
    assert shares == {24.0} and len(rows) == 1


def test_the_covered_tasks_can_be_limited_and_a_count_without_enough_tasks_is_refused():
    runs = plan_tasks(StudyConfig(counts=(1, 3, 9), cover=3), TOY)
    assert [len(run.config.tasks) for run in runs] == [1, 1, 1, 3, 9]
    assert [run.config.tasks[0] for run in runs[:3]] == list(runs[3].config.tasks)
    with pytest.raises(ConfigError, match=r"counts: 10 is not in 1..9"):
        plan_tasks(StudyConfig(counts=(10,)), TOY)


def test_the_schedulers_runs_differ_in_the_scheduler_alone():
    one, other = plan_scheduler(StudyConfig(), TOYS["toy_uneven"])
    assert (one.label, other.label) == ("balanced", "learning_progress")
    same = dataclasses.replace(other.config, schedule=one.config.schedule)
    assert same == one.config


def test_the_levers_runs_differ_in_what_is_searched_and_kept_alone():
    runs = plan_levers(StudyConfig(), TOY)
    assert len({run.label for run in runs}) == len({run.config for run in runs}) == len(runs)
    assert all(dataclasses.replace(r.config, targets=TOY.targets) == TOY for r in runs)
    first = runs[0].config.targets
    assert (first.reanalyse_positions, first.reanalyse_share) == (TOY.targets.unroll + 1, 1.0)


def test_the_levers_table_says_what_was_searched_and_what_it_cost(tmp_path, capsys):
    def cost(seed, searches, seconds):
        one = result("half", seed, (0.2, 0.4))
        curves = one.curves | {"searches": [(1.0, searches)]}
        return dataclasses.replace(one, curves=curves, cpu_seconds=seconds)

    runs = [cost(0, 100.0, 12.0), cost(1, 110.0, 14.0), cost(2, 105.0, None)]  # None: interrupted
    row = report("levers", runs, tmp_path / "chart.svg")["rows"][0]
    assert (row["updates"], row["searches per update"], row["CPU-s"]) == (600, 105.0, 13.0)
    assert "| 105.00 | 13.00 |" in capsys.readouterr().out


def test_a_score_from_before_a_key_came_is_that_of_its_default(tmp_path):
    config = dataclasses.replace(SHORT, out=str(tmp_path))
    saved = to_dict(config)
    del saved["targets"]["reanalyse_every"]
    scores = {"search": {"left": 0.5}}
    facts = {"config": saved, "episodes": 2, "scores": scores, "steps": 40, "git": "abc"}
    (tmp_path / "score.json").write_text(json.dumps(facts))
    (tmp_path / "metrics.jsonl").touch()
    assert train_and_score(Run("2", config), episodes=2).cpu_seconds is None
    other = dataclasses.replace(config.targets, reanalyse_every=2)
    with pytest.raises(ConfigError, match="other settings"):
        train_and_score(Run("2", dataclasses.replace(config, targets=other)), episodes=2)


def test_the_runs_told_in_words_differ_in_what_tells_them_alone(tmp_path):
    learnt, told = plan_language(StudyConfig(out=str(tmp_path)), TOY)
    assert learnt.config.language == "" and Path(told.config.language).is_file()
    assert dataclasses.replace(told.config, language="") == learnt.config


def demonstrated(folder, speed, preset="toy", **changes):
    """Return the runs on what the toy's demonstrator shows at that speed."""
    base = dataclasses.replace(TOYS[preset], **changes)
    return plan_demos(StudyConfig(what="demos", out=str(folder), demonstrator=speed), base)


def test_the_ways_to_use_demonstrations_have_equally_many_updates_of_their_own(tmp_path):
    runs = {run.label: run.config for run in demonstrated(tmp_path, 1.0)}
    own = {label: c.updates - bool(c.demos) * c.imitation.pretrain for label, c in runs.items()}
    assert own.pop("nothing but shown") == 0
    assert set(own.values()) == {400}
    assert runs["none"].demos == "" and runs["none"].updates == 400
    alone, data, kept = (runs[name].imitation for name in
                         ("shown, then alone", "data, not cloned", "kept for good"))  # fmt: skip
    assert (alone.share, alone.share_end, alone.weight) == (0.0, 0.0, 1.0)
    assert (data.share, data.weight, data.weight_end) == (0.5, 0.0, 0.0)
    assert (kept.share, kept.share_end, kept.weight_end) == (0.5, 0.5, 1.0)
    same = {dataclasses.replace(c, imitation=TOY.imitation, updates=1, demos="")
            for c in runs.values()}  # fmt: skip
    assert len(same) == 1  # nothing else differs


def test_what_the_toys_demonstrator_shows_is_worth_its_speed_and_obeys_the_physics(tmp_path):
    full, slow = {}, {}
    for speed, scores in ((1.0, full), (0.2, slow)):
        run = demonstrated(tmp_path / str(speed), speed)[-1]
        scores |= study_demos.worth(run.config.demos, run.config)
        parts = demos.read(run.config.demos, ("left",), run.config.collect.action_map)["left"]
        steps = np.flatnonzero(~parts["last"])
        seen, done = parts["observation"], parts["action"]
        assert np.allclose(move(seen[steps], done[steps], rotation()), seen[steps + 1], atol=1e-6)
        assert np.allclose(
            parts["reward"][steps], reward(seen[steps + 1], GOALS["left"]), atol=1e-6
        )
        assert np.abs(parts["label"]).max() <= speed and parts["last"].sum() == 10
        errors = (done - parts["label"])[steps]
        inside = np.abs(done[steps]) < 1.0
        assert 0.15 < errors[inside].std() < 0.25
    assert all(0.85 < score < 1.1 for score in full.values())  # its noise; its own starts
    assert all(slow[name] < full[name] - 0.1 for name in slow)


@pytest.mark.parametrize("preset", ["h1_demos", "hb_medium"])
def test_other_presets_bring_their_own_demonstrations(tmp_path, monkeypatch, preset):
    study = StudyConfig(what="demos", out=str(tmp_path))
    with pytest.raises(ConfigError, match=rf"what=demos needs demos=<file> with preset={preset}"):
        plan_demos(study, PRESETS[preset])
    given = dataclasses.replace(PRESETS[preset], demos=str(tmp_path / "mine.safetensors"))
    with pytest.raises(ConfigError, match=r"mine\.safetensors: No such file"):
        plan_demos(study, given)  # before any run
    monkeypatch.setattr(study_demos.demos, "read", lambda *_: {})
    runs = plan_demos(study, given)
    assert {run.config.demos for run in runs[1:]} == {given.demos}
    assert runs[0].config.updates == given.updates - runs[1].config.imitation.pretrain
    assert runs[-1].config.online_updates == runs[-1].config.imitation.pretrain


def test_what_a_study_makes_for_its_runs_has_a_name_of_its_settings(tmp_path):
    """So that runs on something else are not taken for these."""
    slow, full = (demonstrated(tmp_path, speed)[1].config.demos for speed in (0.2, 1.0))
    assert slow != full and Path(slow).is_file() and Path(full).is_file()
    one, other = (
        plan_language(StudyConfig(out=str(tmp_path), encoder=encoder), TOY)[1].config.language
        for encoder in ("hashed-ngrams-256", "hashed-ngrams-128")
    )
    assert one != other and Path(one).is_file() and Path(other).is_file()


@pytest.mark.parametrize("what", ["demos", "scheduler", "levers"])
def test_runs_too_short_for_a_chart_have_a_table_and_say_so(tmp_path, capsys, what):
    short = [dataclasses.replace(result("one", 0, (0.2, 0.4)), curves={})]
    facts = report(what, short, tmp_path / "chart.svg")
    assert facts["chart"] is None and facts["rows"][0]["search"] == 0.3
    assert "no chart: nothing to draw" in capsys.readouterr().out


def test_a_run_too_short_for_a_line_of_metrics_has_no_curves(tmp_path):
    assert study_runs.curves(tmp_path) == {}


@pytest.mark.slow
def test_on_a_needle_demonstrations_are_worth_more_than_as_many_steps(tmp_path):
    """Random actions hardly meet it; who was shown it is there."""
    runs = {run.label: run for run in demonstrated(
        tmp_path, 1.0, "toy_uneven", tasks=("top", "left", "bottom_right"), updates=300,
        optim=dataclasses.replace(TOY.optim, batch=72),
    )}  # fmt: skip
    scores = {}
    for label in ("none", "as the preset"):
        own = dataclasses.replace(runs[label].config, out=str(tmp_path / label))
        scores[label] = train_and_score(Run(label, own), episodes=8).mean("mean")
    assert scores["none"] < 0.2
    assert scores["as the preset"] > scores["none"] + 0.3


def test_words_go_to_the_study_or_to_its_runs():
    mine, theirs = split(["what=tasks", "optim.lr=1e-3", "counts=[1,3]", "preset=toy"])
    assert mine == ["what=tasks", "counts=[1,3]"] and theirs == ["optim.lr=1e-3", "preset=toy"]


@pytest.mark.slow
def test_a_run_is_trained_scored_and_not_trained_again(tmp_path, monkeypatch):
    config = dataclasses.replace(SHORT, tasks=("left", "right"), out=str(tmp_path / "run"))
    run = Run("2", config)
    first = train_and_score(run, episodes=2)
    assert set(first.scores) == {"search", "mean"}
    assert all(set(scores) == {"left", "right"} for scores in first.scores.values())
    assert "cosine/dynamics/left|right" in first.curves and "loss_task/left" in first.curves
    monkeypatch.setattr(study_runs, "Trainer", None)
    again = train_and_score(run, episodes=2)
    assert again == first
    with pytest.raises(ConfigError, match="other settings"):
        train_and_score(Run("2", dataclasses.replace(config, updates=8)), episodes=2)


@pytest.mark.slow
def test_an_agent_that_is_told_is_scored_on_held_out_phrases_too(tmp_path):
    _, told = plan_language(StudyConfig(out=str(tmp_path)), SHORT)
    config = dataclasses.replace(told.config, tasks=("left", "top"))
    config = dataclasses.replace(config, out=str(tmp_path / "run"))
    scores = train_and_score(Run("told", config), episodes=2).scores
    assert set(scores) == {
        "search", "mean", "search, held-out phrases", "mean, held-out phrases",
    }  # fmt: skip


def test_the_spread_is_that_of_the_seeds_means_not_of_tasks():
    results = [result("2", 0, (0.0, 1.0)), result("2", 1, (0.2, 1.0))]
    mean, spread = spread_over_seeds(results, "search")
    assert mean == pytest.approx(0.55)
    assert spread == pytest.approx(0.05)


@pytest.mark.parametrize("what", study.KINDS)
def test_a_report_prints_its_table_and_draws_a_chart_that_is_xml(what, tmp_path, capsys):
    labels = ("1", "3") if what == "tasks" else ("balanced", "other")
    results = [result(labels[0], 0, (0.2, 0.4)), result(labels[1], 0, (0.6, 0.8))]
    facts = report(what, results, tmp_path / "chart.svg")
    printed = capsys.readouterr().out
    assert "0.30 ± 0.00" in printed and "0.70 ± 0.00" in printed
    assert [row["search"] for row in facts["rows"]] == [0.3, 0.7]
    json.dumps(facts, allow_nan=False)
    root = ElementTree.parse(tmp_path / "chart.svg").getroot()
    assert len(root.findall(".//{*}polyline")) >= 1


def test_returns_are_drawn_against_the_updates_after_the_demonstrations(tmp_path):
    def learnt(label, at, **changes):
        one = result(label, 0, (0.2, 0.4))
        config = dataclasses.replace(one.run.config, **changes)
        curves = {"train_return/left": [(at, 3.0), (at + 40, 4.0)]}
        return dataclasses.replace(one, run=Run(label, config), curves=curves)

    like = dataclasses.replace(TOY.imitation, pretrain=200)
    shown = learnt("shown", 240, demos="a file", imitation=like)
    nothing = learnt("nothing but shown", 240, demos="a file", imitation=like)
    nothing = dataclasses.replace(nothing, curves={})
    report("demos", [learnt("none", 40), shown, nothing], tmp_path / "chart.svg")
    lines = ElementTree.parse(tmp_path / "chart.svg").getroot().findall(".//{*}polyline")
    assert len(lines) == 2  # one had no episode of its own
    assert lines[0].get("points") == lines[1].get("points")


def test_only_tasks_that_every_count_was_trained_on_are_compared(tmp_path):
    single = result("1", 0, (0.2,), tasks=("left",))
    double = result("2", 0, (0.6, 1.0))
    rows = report("tasks", [single, double], tmp_path / "chart.svg")["rows"]
    assert [row["search"] for row in rows] == [0.2, 0.6]


def test_cosines_are_the_mean_of_a_runs_second_half(tmp_path):
    facts = report("tasks", [result("2", 0, (0.2, 0.4))], tmp_path / "chart.svg")
    assert facts["rows"][0]["cosine dynamics"] == 0.4
    assert facts["rows"][0]["cosine reward"] is None


def test_a_table_has_a_column_for_every_name_and_nothing_where_there_is_none():
    lines = table([{"a": 1, "b": 0.5, "b ±": 0.25}, {"a": 2}]).splitlines()
    assert lines == ["| a | b |", "|---|---|", "| 1 | 0.50 ± 0.25 |", "| 2 |  |"]


def test_a_chart_is_as_wide_as_its_longest_name(tmp_path):
    widths = []
    for name in ("a", "h1_small_0 eval_search/stand", 60 * "m"):
        draw(tmp_path / "c.svg", "t", "x", "y", [Line(name, [(0, 0.0), (1, 1.0)])])
        root = ElementTree.parse(tmp_path / "c.svg").getroot()
        widths.append(float(root.get("viewBox").split()[2]))
        at = max(float(text.get("x", "0")) for text in root.findall(".//{*}text"))
        assert at + 6 * len(name) <= widths[-1]
    assert widths[0] < widths[1] < widths[2]


def test_points_stand_where_their_values_say(tmp_path):
    draw(tmp_path / "c.svg", "t", "x", "y", [Line("a", [(0, 0.0), (1, 1.0), (2, 0.5)])], (0, 1))
    circles = ElementTree.parse(tmp_path / "c.svg").getroot().findall(".//{*}circle")
    (x0, y0), (x1, y1), (x2, y2) = ((float(c.get("cx")), float(c.get("cy"))) for c in circles)
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert y2 - y1 == pytest.approx((y0 - y1) / 2)
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(tmp_path / "d.svg", "t", "x", "y", [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["what=nothing"], "there are tasks, scheduler, language"),
        (["preset=nothing"], "unknown preset"),
        (["seeds=[]"], "one seed at least"),
        (["optim.nothing=1"], "nothing"),
        (["tasks=[walk]", "counts=[1]"], "preset=toy has"),
        (["what=demos", "preset=toy_uneven", "tasks=[stand]"], "preset=toy_uneven has"),
        (["what=demos", "demos=nothere.safetensors"], "nothere.safetensors: No such file"),
        (["counts=[]"], "counts=[]: expected one count at least"),
        (["counts=[0]"], "counts=[0]: expected at least 1"),
        (["seeds=[-1]"], "seeds=[-1]: expected at least 0"),
        (["episodes=0"], "episodes=0: expected at least 1"),
        (["cover=-1"], "cover=-1: expected at least 0"),
        (["demonstrator=0"], "demonstrator=0.0: expected above 0 and at most 1"),
        (["chart=/proc/x/c.svg"], "chart=/proc/x: expected a folder"),
        (["replay.task_share=[1,2]", "counts=[1]"], "task_share"),
    ],
)
def test_bad_words_end_with_a_sentence_and_exit_code_2(
    words, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["study.py", *words, f"out={tmp_path}/out"])
    assert study.main() == 2
    assert message in capsys.readouterr().err


def test_an_out_that_cannot_be_made_is_a_sentence(call_door):
    status, _, errors = call_door(study.main, "out=/proc/x/study")
    assert status == 2
    assert "out=/proc/x/study: expected a folder" in errors and len(errors.splitlines()) == 1


def test_a_study_that_another_process_is_at_is_refused(tmp_path, call_door):
    with alone(tmp_path):
        status, _, errors = call_door(study.main, f"out={tmp_path}")
    assert status == 2
    assert f"out={tmp_path}: another process trains there" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"scores": {}}', '{"config": 3}'])
def test_a_broken_score_is_refused_with_its_file(tmp_path, text):
    (tmp_path / "score.json").write_text(text)
    with pytest.raises(ConfigError, match=r"score\.json is no score of a run"):
        train_and_score(Run("2", dataclasses.replace(SHORT, out=str(tmp_path))), episodes=2)


def test_a_score_whose_configuration_is_none_is_refused(tmp_path):
    facts = {"config": 3, "episodes": 2, "scores": {}, "steps": 1, "git": "abc"}
    (tmp_path / "score.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match="is no score of a run"):
        train_and_score(Run("2", dataclasses.replace(SHORT, out=str(tmp_path))), episodes=2)


def test_a_run_that_its_minutes_stopped_has_no_score_and_goes_on_to_one(tmp_path):
    config = dataclasses.replace(
        SHORT, tasks=("left",), updates=8, evaluate_every=8, max_minutes=1e-9, out=str(tmp_path)
    )
    with pytest.raises(ConfigError, match=r"stopped at 4 of 8 updates by max_minutes=1e-09"):
        train_and_score(Run("1", config), episodes=2)
    assert not (tmp_path / "score.json").exists()
    assert train_and_score(Run("1", config), episodes=2).scores
    assert (tmp_path / "score.json").is_file()
