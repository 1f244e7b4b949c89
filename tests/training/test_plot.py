"""Curves of a run by one command."""

import json

import pytest

from training import plot


@pytest.fixture
def run(tmp_path):
    rows = [{"updates": 10 * i, "loss": 3.0 - i, "train_return/walk": 5.0 * i} for i in range(3)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text + '{"updates": 40, "lo')
    return tmp_path


def test_every_metric_becomes_points_over_updates_and_a_half_written_line_none(run):
    series = plot.read(run / "metrics.jsonl")
    assert series["train_return/walk"] == [(0.0, 0.0), (10.0, 5.0), (20.0, 10.0)]
    assert len(series["loss"]) == 3


def test_a_run_gets_the_charts_it_has_metrics_for(run, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["plot.py", str(run)])
    assert plot.main() == 0
    names = {path.name for path in (run / "curves").iterdir()}
    assert names == {"returns.svg", "losses.svg"}
    assert "train_return/walk" in (run / "curves" / "returns.svg").read_text()
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])["files"]) == 2


def test_a_folder_without_metrics_is_refused_with_what_it_holds(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.json").touch()
    monkeypatch.setattr("sys.argv", ["plot.py", str(tmp_path)])
    assert plot.main() == 2
    assert "config.json" in capsys.readouterr().err
