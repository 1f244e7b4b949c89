"""What can be said of tools/unitree_mujoco_headless.py without Unitree's simulator at hand."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "unitree_mujoco_headless.py"
HINGES = """<mujoco><option timestep="0.005"/><worldbody>
<body><joint name="a"/><geom size="0.1"/><body pos="0 0 1"><joint name="b"/><geom size="0.1"/>
</body></body></worldbody><actuator><motor joint="b"/><motor joint="a"/></actuator></mujoco>"""


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], r"'' holds no simulate_python/unitree_mujoco.py; the two checkouts come first"),
        (["mend=crc,torque"], r"\['torque'\] unknown; there are \['crc', 'drives'\]"),
    ],
)
def test_it_says_what_is_missing_or_unknown(words, complaint):
    done = subprocess.run(
        [sys.executable, str(TOOL), *words], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode != 0
    assert re.search(complaint, done.stderr), done.stderr


def test_mended_drives_hold_the_newest_command_at_every_step(monkeypatch):
    """By actuator, not by joint order, and from the joint as it is before the step."""
    spec = importlib.util.spec_from_file_location("unitree_mujoco_headless", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, tool)  # dataclasses look there
    spec.loader.exec_module(tool)
    bridge = SimpleNamespace(UnitreeSdk2Bridge=SimpleNamespace())
    simulator = SimpleNamespace(mj_step=mujoco.mj_step)  # pyright: ignore
    tool._drive_every_step(bridge, simulator)
    model = mujoco.MjModel.from_xml_string(HINGES)  # pyright: ignore
    data = mujoco.MjData(model)  # pyright: ignore
    data.qpos[:], data.qvel[:] = (0.1, 0.2), (1.0, -1.0)
    simulator.mj_step(model, data)
    assert not data.ctrl.any(), "no command, no torque"
    motors = [
        SimpleNamespace(q=0.5, dq=0.0, tau=1.0, kp=10.0, kd=2.0),  # of joint b
        SimpleNamespace(q=0.0, dq=0.5, tau=0.0, kp=20.0, kd=1.0),  # of joint a
    ]
    bridge.UnitreeSdk2Bridge.LowCmdHandler(None, SimpleNamespace(motor_cmd=motors))
    for _ in range(2):
        (qa, qb), (va, vb) = data.qpos.copy(), data.qvel.copy()
        simulator.mj_step(model, data)
        expected = [1.0 + 10.0 * (0.5 - qb) - 2.0 * vb, 20.0 * (0.0 - qa) + 0.5 - va]
        np.testing.assert_allclose(data.ctrl, expected, rtol=1e-12)
