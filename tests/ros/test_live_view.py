"""`make run VIEW=browser`: the live view's wishes reach the policy through the node."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

from runtime.link import RobotClient
from runtime.modes import Mode

ROOT = Path(__file__).parents[2]


def test_the_page_of_a_run_through_ros_changes_the_task_stops_and_starts_again(
    tmp_path, wait_until
):
    endpoint = f"ipc://{tmp_path}/h1"
    words = ["duration=600", "view=browser", "record=false", f"endpoint={endpoint}"]
    run = subprocess.Popen(
        [sys.executable, "-m", "ezm_runtime.bringup", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    robot = RobotClient(endpoint, "test")
    try:
        assert run.stdout is not None
        found = None
        for line in run.stdout:
            found = re.search(r"live view: http://([\d.]+):(\d+)/#key=(\S+)", line)
            if found:
                break
        assert found, "the address of the page is printed"

        def ask(path: str, body: dict[str, Any], key: str = found.group(3)) -> tuple[int, str]:
            link = http.client.HTTPConnection(found.group(1), int(found.group(2)), timeout=15)
            link.request("POST", path, json.dumps(body), {"X-Ezm-Key": key})
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())["said"]

        assert wait_until(lambda: robot.wait(5.0).mode is Mode.POLICY)
        assert ask("/command", {"task": "walk", "heading": 0.4}) == (200, "")
        assert wait_until(lambda: robot.wait(5.0).task == "walk")
        status, said = ask("/command", {"task": "fly"})
        assert status == 409 and "not one of" in said
        assert ask("/estop", {}, key="")[0] == 200
        assert wait_until(lambda: robot.wait(5.0).mode is Mode.ESTOP)
        status, said = ask("/mode", {"mode": "POLICY"})
        assert status == 409 and "cannot follow ESTOP" in said
        assert ask("/mode", {"mode": "DAMPING"}) == (200, "")
        assert wait_until(lambda: robot.wait(5.0).mode is Mode.DAMPING)
        assert ask("/mode", {"mode": "POLICY"}) == (200, "")
        assert wait_until(lambda: robot.wait(5.0).mode is Mode.POLICY)
    finally:
        robot.close()
        run.terminate()
        out, _ = run.communicate(timeout=60)
    assert json.loads(out.strip().splitlines()[-1])["transport"] == "ros2"
