"""Film, window and bench: they work without a screen, or say why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from runtime import bench, metronome
from runtime.histogram import Stages
from runtime.policy import load_policy
from runtime.processes import RobotProcess
from runtime.realtime import Granted

ROOT = Path(__file__).parents[2]


FILM = """
import sys
from pathlib import Path
import numpy as np
from runtime.record import RecordConfig, draw, write
standing = np.array([0, 0, 0.98, 1, 0, 0, 0, *np.zeros(19)])
away = standing + 30.0 * np.eye(26)[2]
config = RecordConfig(video=sys.argv[1], width=160, height=120)
try:
    images = list(draw([standing, away], config))
except RuntimeError as error:
    sys.exit(str(error))
assert images[0].shape == (120, 160, 3)
assert abs(images[0].astype(int) - images[1]).max() > 50, "the robot is in the first only"
assert write(images, Path(config.video), 25) == 2
"""


def test_a_film_of_the_home_pose_shows_a_robot(tmp_path):
    """In a process of its own: MuJoCo chooses how to draw when it is first imported."""
    pytest.importorskip("imageio_ffmpeg")
    film = tmp_path / "film" / "out.mp4"
    command = [sys.executable, "-c", FILM, str(film)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if "no way to draw" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert film.stat().st_size > 500


def test_a_window_without_a_display_is_refused_with_a_hint():
    environment = {k: v for k, v in os.environ.items() if "DISPLAY" not in k}
    command = [sys.executable, "-m", "runtime.viewer"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 1
    assert "no display here; VIDEO=out.mp4" in done.stderr


def test_the_film_maker_listens_until_the_robot_process_ends(tmp_path):
    film = tmp_path / "out.mp4"
    with RobotProcess("mujoco") as process:
        words = [f"endpoint={process.endpoint}", f"video={film}", "width=64", "height=48", "fps=5"]
        command = [sys.executable, "-m", "runtime.record", *words]
        maker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        time.sleep(3.0)
        process.stop()
        _, err = maker.communicate(timeout=60)
    assert "drawing" in err
    assert maker.returncode == 0 or "no way to draw" in err
    assert film.exists() or maker.returncode != 0


def test_the_bench_ends_with_one_line_of_json(make_policy):
    """Loops that cost nothing but time: the plain one and the wire have their own tests."""
    command = [sys.executable, "runtime/bench.py", f"policy={make_policy()}", "seconds=1"]
    done = subprocess.run([*command, "loops=cold,ours"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(last) == {"policy", "engine", "seconds", "busy", "load", "cold", "ours"}
    quantiles = [last["ours"][f"tick_us_{name}"] for name in ("p50", "p95", "p99", "max")]
    assert 0.0 < quantiles[0] <= quantiles[1] <= quantiles[2] <= quantiles[3] * 1.02
    assert 47.5 < last["ours"]["hz"] < 50.5 or last["ours"]["missed"]  # kept the pace, or says so


def test_an_unknown_loop_is_refused_with_the_list(make_policy):
    command = [sys.executable, "runtime/bench.py", f"policy={make_policy()}", "loops=fast"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "there are ['plain', 'cold', 'ours', 'wire']" in done.stderr


def test_a_loop_is_compared_with_the_plain_one():
    books = Stages("tick")
    for microseconds in range(1, 101):
        books.histograms["tick"].add(microseconds * 1e-6)
    result = bench.Result("ours", books.quantiles(), 50.0, 3, "nothing")
    told = result.json()
    assert told["tick_us_p50"] == pytest.approx(50.0, rel=0.03)
    assert told["tick_us_p99"] == pytest.approx(99.0, rel=0.03)
    assert told["tick_us_max"] == pytest.approx(100.0)
    assert (told["missed"], told["realtime"]) == (3, "nothing")
    assert "ours" in bench.table([result])


def test_an_empty_loop_says_what_the_machine_itself_missed():
    with metronome.beside(0.5) as told:
        pass
    late = told["late"]
    assert 0.0 <= late.p50 <= late.p95 <= late.p99 <= late.max * 1.02
    assert told["hz"] > 45.0 or told["missed"]  # kept the pace, or says so
    result = bench.Result("machine", {"late": late}, told["hz"], told["missed"], told["realtime"])
    assert "tick_us_p50" not in result.json()
    assert result.json()["late_us_max"] == pytest.approx(late.max, abs=0.1)
    assert "ticks missed" in bench.table([result])


def test_a_stall_is_late_and_missed(monkeypatch):
    """A machine that stops for a while in the third sleep."""
    pauses = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        stop = time.monotonic() + seconds + 0.1 * (len(pauses) == 3)
        while time.monotonic() < stop:
            pass

    fake = types.SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    monkeypatch.setattr(metronome, "time", fake)
    monkeypatch.setattr(metronome, "ask_for_realtime", lambda priority: Granted.NOTHING)
    told = metronome.listen(0.4)
    assert told["missed"] >= 4
    assert told["late"]["max"] >= 99_000.0


def test_the_plain_loop_without_torch_runs_the_engine_at_fifty_hertz_at_most(make_policy):
    path = make_policy()
    size = load_policy(path).spec.observation_size
    result = bench.plain_engine(str(path), size, 0.5)
    assert 0.0 < result.hz <= 50.0
    assert result.stages["tick"].p50 > 0.0
