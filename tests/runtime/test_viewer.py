"""MuJoCo's own window opens on a screen, follows the robot, and ends with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.listen import VIEWS, view_module
from runtime.processes import RobotProcess

ROOT = Path(__file__).parents[2]
pytest.importorskip("mujoco")


@pytest.mark.skipif(
    shutil.which("xvfb-run") is None,
    reason="no Xvfb here, so MuJoCo's window was NOT opened: apt-get install xvfb libgl1-mesa-dri",
)
def test_the_window_opens_on_a_virtual_screen_and_ends_with_the_robot():
    with RobotProcess("mujoco") as robot:
        window = subprocess.Popen(
            [
                "xvfb-run",
                "-a",
                sys.executable,
                "-m",
                "runtime.viewer",
                f"endpoint={robot.endpoint}",
            ],
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        time.sleep(8.0)
        if window.poll() is not None and "GLX" in (said := window.communicate()[1]):
            pytest.skip(
                f"this virtual screen has no OpenGL, the window was NOT opened: {said[-200:]}"
            )
        assert window.poll() is None, "it stays open while the robot process lives"
        robot.stop()
        _, err = window.communicate(timeout=120)
    assert window.returncode == 0, err


@pytest.mark.parametrize("word", ["", "0", "false", "none", "no"])
def test_no_view_is_no_view(word):
    assert view_module(word) == ""


def test_every_way_to_look_names_a_module_that_exists():
    for view in (*VIEWS, "1", "true", "Browser"):
        path = ROOT / (view_module(view).replace(".", "/") + ".py")
        assert path.is_file()
    with pytest.raises(
        ValueError, match=r"view 'telly' unknown; there are \['browser', 'mujoco'\]"
    ):
        view_module("telly")
