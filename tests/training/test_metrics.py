"""Averages between log lines, and the file they go to."""

import json
import os

import pytest

from training.metrics import Averages, MetricsFile


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_averages_are_per_name_over_what_was_added_since_the_last_reading():
    averages = Averages()
    averages.add({"loss": 1.0, "rare": 5.0})
    averages.add({"loss": 3.0})
    assert averages.take() == {"loss": 2.0, "rare": 5.0}
    averages.add({"loss": 7.0})
    assert averages.take() == {"loss": 7.0}
    assert averages.take() == {}


def test_a_resumed_run_drops_the_rows_past_its_checkpoint_and_half_written_ones(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, 0)
    for updates in (10, 20, 30):
        first.write({"updates": updates, "loss": 0.1})
    with path.open("a") as file:
        file.write('{"updates": 2')
    second = MetricsFile(path, 20)
    second.write({"updates": 25, "loss": 0.123456789})
    assert [row["updates"] for row in rows(path)] == [10, 20, 25]
    assert rows(path)[-1]["loss"] == 0.123457


def test_a_file_of_which_nothing_is_dropped_is_left_alone(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, 0)
    first.write({"updates": 10, "loss": 0.1})
    first.write({"updates": 20, "eval_mean/walk": 3.0})
    before = path.stat()
    second = MetricsFile(path, 20)
    after = path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert second.names == {"updates", "eval_mean/walk"}


def test_a_last_line_without_its_end_is_not_grown_together_with_the_next(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"updates": 10, "loss": 0.1}')
    MetricsFile(path, 10).write({"updates": 20, "loss": 0.2})
    assert [row["updates"] for row in rows(path)] == [10, 20]


def test_an_interruption_while_lines_are_dropped_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, 0)
    for updates in (10, 20):
        first.write({"updates": updates, "loss": 0.1})
    before = path.read_text()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        MetricsFile(path, 10)
    assert path.read_text() == before


def test_a_new_run_starts_without_a_file(tmp_path):
    MetricsFile(tmp_path / "metrics.jsonl", 0)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_tensorboard_gets_the_same_numbers_and_hides_what_a_resumed_run_takes_back(tmp_path):
    pytest.importorskip("tensorboard", reason="NOT TESTED HERE: needs pip install 'ezm[board]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, 0)
    for updates in (10, 20, 30):
        first.write({"updates": updates, "time": 1e9 + updates, "loss": 0.1 * updates})
    first.board.close()
    second = MetricsFile(path, 20)
    second.write({"updates": 30, "time": 2e9, "loss": 7.5, "eval_search/walk": 3.0})
    second.board.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["eval_search/walk", "loss"]
    read = [(event.step, round(event.value, 5)) for event in events.Scalars("loss")]
    assert read == [(row["updates"], round(row["loss"], 5)) for row in rows(path)]
    assert read == [(10, 1.0), (20, 2.0), (30, 7.5)]
