"""What a run looks like after it was killed at a bad moment, or taken up with other words."""

import dataclasses
import json

import pytest

from training import run_folder
from training import trainer as module
from training.checkpoint import CheckpointError
from training.cli import ConfigError
from training.trainer import Trainer


def trainer(toy, folder, **changes):
    """Return a run of three segments of four updates, evaluated after each."""
    config = toy.tiny(folder, evaluate_every=4, **changes)
    return Trainer(config, make_env=toy.Env, sizes=toy.sizes)


@pytest.fixture(autouse=True)
def _short_evaluations(monkeypatch):
    evaluate = module.evaluate
    monkeypatch.setattr(module, "evaluate", lambda *a, **k: evaluate(*a, **k, steps=6))


def evaluations(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in row.items() if name != "time"}
        for row in rows
        if any(name.startswith("eval_") for name in row)
    ]


@pytest.fixture(scope="module")
def straight(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "straight"
    with pytest.MonkeyPatch.context() as patch:
        evaluate = module.evaluate
        patch.setattr(module, "evaluate", lambda *a, **k: evaluate(*a, **k, steps=6))
        trainer(toy, folder).run()
    return folder


@pytest.mark.parametrize("lost", ["_evaluate", "search", "mean"])
@pytest.mark.parametrize("at", [4, 12])
def test_an_evaluation_that_an_interruption_took_is_made_on_resuming(
    toy, tmp_path, monkeypatch, straight, lost, at
):
    """Killed before it, or before one of its two rows is written; the last one too."""
    run = trainer(toy, tmp_path)
    evaluate, write = run._evaluate, run.metrics.write

    def evaluate_or_die():
        if run.learner.updates == at and lost == "_evaluate":
            raise KeyboardInterrupt
        evaluate()

    def write_or_die(row):
        if row["updates"] == at and any(name.startswith(f"eval_{lost}/") for name in row):
            raise KeyboardInterrupt
        write(row)

    monkeypatch.setattr(run, "_evaluate", evaluate_or_die)
    monkeypatch.setattr(run.metrics, "write", write_or_die)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert len(evaluations(tmp_path)) == 2 * (at // 4 - 1) + (lost == "mean")
    trainer(toy, tmp_path).run()
    assert evaluations(tmp_path) == evaluations(straight)
    assert (tmp_path / "best.json").read_text() == (straight / "best.json").read_text()


def test_a_finished_run_is_not_evaluated_twice(toy, straight):
    before = (straight / "metrics.jsonl").read_text(), (straight / "config.json").read_text()
    trainer(toy, straight).run()
    after = (straight / "metrics.jsonl").read_text(), (straight / "config.json").read_text()
    assert before == after


def test_a_lost_pointer_does_not_begin_the_run_anew(toy, tmp_path, straight):
    trainer(toy, tmp_path, max_minutes=1e-9).run()
    (tmp_path / "checkpoints" / "latest").write_text("")
    again = trainer(toy, tmp_path)
    assert again.learner.updates == 4
    again.run()
    assert evaluations(tmp_path) == evaluations(straight)


def test_what_changed_on_resuming_is_printed_and_kept_beside_the_first_configuration(
    toy, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(module, "git_sha", lambda: "abc")
    trainer(toy, tmp_path, updates=4).run()
    first = json.loads((tmp_path / "config.json").read_text())
    for _ in range(2):  # interrupted before it saves, and again: said twice, kept once
        trainer(toy, tmp_path, updates=8)
    assert capsys.readouterr().out.count("changed: updates is 4 there, 8 here\n") == 2
    trainer(toy, tmp_path, updates=8).run()
    trainer(toy, tmp_path, updates=8).run()
    monkeypatch.setattr(module, "git_sha", lambda: "def")
    trainer(toy, tmp_path, updates=8)
    kept = json.loads((tmp_path / "config.json").read_text())
    assert kept.pop("resumed") == [
        {"updates": 4, "changed": {"updates": 8}, "git": "abc"},
        {"updates": 8, "changed": {}, "git": "def"},
    ]
    assert kept == first


def test_another_meaning_is_refused_before_the_run_folder_is_touched(toy, tmp_path):
    trainer(toy, tmp_path, updates=4).run()

    def files():
        return {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    before = files()
    search = dataclasses.replace(toy.tiny(tmp_path).search, discount=0.5)
    with pytest.raises(CheckpointError, match=r"search\.discount is .* there, 0\.5 here"):
        trainer(toy, tmp_path, search=search)
    assert files() == before


def test_a_run_that_is_not_to_go_on_is_left_alone(toy, tmp_path):
    folder = tmp_path / "run"
    trainer(toy, folder, resume=False).run()  # there is none yet: it begins

    def files():
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = files()
    with pytest.raises(ConfigError, match=r"run holds a run, saved at 12 updates; resume=true"):
        trainer(toy, folder, resume=False)
    assert files() == before
    assert trainer(toy, folder).learner.updates == 12


def test_a_record_that_is_not_ours_gets_no_note(tmp_path):
    for text in ("", "[]", "{}", '{"config": 3, "resumed": 7'):
        (tmp_path / "config.json").write_text(text)
        run_folder.note_resume(tmp_path, 4, {"updates": (1, 2)}, "abc")
        assert (tmp_path / "config.json").read_text() == text
