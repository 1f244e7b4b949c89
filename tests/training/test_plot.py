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


def test_lines_that_are_no_row_and_values_that_have_no_place_are_left_out(tmp_path):
    lines = ['[1, 2]', '3', 'null', '{"loss": 1.0}', '{"updates": "x", "loss": 1.0}',
             '{"updates": null, "loss": 1.0}', '{"updates": NaN, "loss": 1.0}',
             '{"updates": 5, "loss": NaN, "loss_value": Infinity, "loss_policy": 2.0}']  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert plot.read(tmp_path / "metrics.jsonl") == {
        "updates": [(5.0, 5.0)], "loss_policy": [(5.0, 2.0)],
    }  # fmt: skip


def test_a_chart_of_a_run_with_nan_has_none_in_it(tmp_path, call_door):
    rows = '{"updates": 1, "loss": 1.0}\n{"updates": 2, "loss": NaN}\n{"updates": 3, "loss": 2.0}\n'
    (tmp_path / "metrics.jsonl").write_text(rows)
    assert call_door(plot.main, str(tmp_path))[0] == 0
    assert "nan" not in (tmp_path / "curves" / "losses.svg").read_text()


@pytest.mark.parametrize(
    "text", ["", "\n", '{"updates": 3}\n', '{"updates": 3, "loss": NaN}', "[]"]
)
def test_metrics_with_nothing_to_draw_are_a_sentence_and_make_no_folder(text, tmp_path, call_door):
    (tmp_path / "metrics.jsonl").write_text(text)
    status, _, errors = call_door(plot.main, str(tmp_path))
    assert status == 2
    assert "nothing to draw" in errors and "metrics.jsonl" in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "curves").exists()


def test_metrics_that_are_no_text_are_a_sentence(tmp_path, call_door):
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\xfe\x00")
    status, _, errors = call_door(plot.main, str(tmp_path))
    assert status == 2 and errors.startswith("error: ")
