"""Film, window and bench: they work without a screen, or say why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime import bench
from runtime.processes import RobotProcess

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
    command = [sys.executable, "runtime/bench.py", f"policy={make_policy()}", "seconds=0.6"]
    done = subprocess.run([*command, "wire=false"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(last) == {"policy", "engine", "plain", "ours"}
    assert last["ours"]["hz"] == pytest.approx(50.0, rel=0.05)


def test_percentiles_are_over_each_stage():
    books = bench.Books("x")
    books.rows = [(i * 1e-6,) * len(bench.STAGES) for i in range(101)]
    assert books.percentiles("tick") == pytest.approx((50.0, 95.0, 99.0, 100.0))
