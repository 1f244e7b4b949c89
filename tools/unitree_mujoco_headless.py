"""Unitree's own simulator, unitree_mujoco, with an H1 and without a window.

    python tools/unitree_mujoco_headless.py <checkout of unitree_mujoco> <of unitree_sdk2_python>
    python runtime/run.py robot=unitree server=interface=lo,domain=1,motion=ignore task=walk

Their `simulate_python/unitree_mujoco.py` runs as it is; its window is replaced by one that nobody
sees. The robot hangs on their elastic band. Words on stdin, one a line: band LENGTH (m; longer is
lower), go (the band lets go), quit. Lines of JSON say how it is. Both checkouts are yours to fetch.

What that simulator does not do, and a robot does, is put in by `mend`: `crc` (LowState's CRC and
tick; without, the robot process takes no state), `drives` (torque computed at every physics step
from the joint as it is; without, once per LowCmd from the last step's sensors, and kept).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import sys
import time
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.cli import parse_or_exit

MENDS = ("crc", "drives")


@dataclass(frozen=True)
class HeadlessConfig:
    """Which checkouts, and what their simulator is told."""

    simulator: str = ""  # checkout of unitree_mujoco; the first word may be it
    sdk: str = ""  # checkout of unitree_sdk2_python; the second word may be it
    mend: str = "crc,drives"  # some of `crc` and `drives`; empty: their simulator as it is
    dt: float = 0.005  # s, their SIMULATE_DT; also the period of their LowState
    domain: int = 1  # DDS domain, on loopback
    yaw: float = 0.0  # rad, where the robot faces at the start; its IMU's zero is the world's
    band: float = -0.75  # m, length of the elastic band at the start; the feet are off the ground
    status: float = 0.1  # s between two lines

    def __post_init__(self) -> None:
        """Refuse what cannot be put in, and folders that are no such checkouts."""
        unknown = sorted(set(self.mend.split(",")) - {"", *MENDS})
        if unknown:
            raise ValueError(f"mend={self.mend}: {unknown} unknown; there are {list(MENDS)}")


class Unseen:
    """Stands in for their viewer: tells how the robot is, and does what stdin says."""

    config = HeadlessConfig()

    def __init__(self, model: Any, data: Any, key_callback: Any) -> None:
        yaw = self.config.yaw
        data.qpos[3:7] = np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)
        self._data, self._pelvis = data, model.body("pelvis").id
        self._band: Any = key_callback.__self__  # their ElasticBand
        self._band.length = self.config.band
        self._running, self._begin, self._told = True, time.monotonic(), -np.inf

    def is_running(self) -> bool:
        """Tell their loops whether to go on."""
        return self._running

    def sync(self) -> None:
        """Called 50 times a second, with their lock held."""
        while select.select([sys.stdin], [], [], 0)[0]:
            self._obey(sys.stdin.readline().split() or ["quit"])
            if not self._running:
                return
        now = time.monotonic()
        if now - self._told >= self.config.status:
            self._told = now
            print(json.dumps(self._report(now)), flush=True)

    def _obey(self, words: list[str]) -> None:
        if words == ["quit"]:
            self._running = False
        elif words == ["go"]:
            self._band.enable = False
            self._data.xfrc_applied[:] = 0.0  # theirs stays where it was
        elif words[0] == "band" and len(words) == 2:
            self._band.length = float(words[1])
        else:
            print(f"{' '.join(words)!r} is not understood; see --help", file=sys.stderr)

    def _report(self, now: float) -> dict[str, Any]:
        data, turn = self._data, self._data.xmat[self._pelvis]
        return {
            "real": round(now - self._begin, 3),  # s
            "simulated": round(float(data.time), 3),  # s
            "height": round(float(data.qpos[2]), 3),  # m, of the pelvis
            "x": round(float(data.qpos[0]), 3),  # m
            "y": round(float(data.qpos[1]), 3),  # m
            "yaw": round(float(np.arctan2(turn[3], turn[0])), 3),  # rad
            "tilt": round(float(np.arccos(np.clip(turn[8], -1.0, 1.0))), 3),  # rad
            "speed": round(float(np.abs(data.qvel[6:25]).max()), 2),  # rad/s, the fastest joint
            "band": bool(self._band.enable),
        }


def find_theirs(config: HeadlessConfig) -> None:
    """Start this program anew if the interpreter does not know where their modules are."""
    folders = (Path(config.simulator) / "simulate_python", Path(config.sdk))
    theirs = os.pathsep.join(str(folder.resolve()) for folder in folders)
    before = os.environ.get("PYTHONPATH", "")
    if not before.startswith(theirs):
        os.environ["PYTHONPATH"] = theirs + os.pathsep + before if before else theirs
        os.execv(sys.executable, [sys.executable, *sys.argv])


def simulate(config: HeadlessConfig) -> None:
    """Run their program until stdin says quit, or ends."""
    import mujoco

    os.chdir(Path(config.simulator).resolve() / "simulate_python")
    Unseen.config = config
    viewer = types.ModuleType("mujoco.viewer")
    viewer.__dict__["launch_passive"] = Unseen
    sys.modules["mujoco.viewer"] = mujoco.__dict__["viewer"] = viewer
    with contextlib.suppress(ImportError):
        importlib.import_module("pygame")
    sys.modules.setdefault("pygame", types.ModuleType("pygame"))  # for joysticks only
    theirs: Any = importlib.import_module("config")
    theirs.ROBOT, theirs.ROBOT_SCENE = "h1", "../unitree_robots/h1/scene.xml"
    theirs.DOMAIN_ID, theirs.INTERFACE = config.domain, "lo"
    theirs.USE_JOYSTICK, theirs.PRINT_SCENE_INFORMATION = 0, False
    theirs.ENABLE_ELASTIC_BAND, theirs.SIMULATE_DT = True, config.dt
    bridge: Any = importlib.import_module("unitree_sdk2py_bridge")
    if "crc" in config.mend:
        _fill_crc(bridge)
    if "drives" in config.mend:
        _drive_every_step(bridge, mujoco)
    script = Path("unitree_mujoco.py")
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(script.read_text(), str(script), "exec"), space)
    space["sim_thread"].join()


def _fill_crc(bridge: Any) -> None:
    """Let every LowState carry a tick and its CRC, by the SDK's own function."""
    crc = importlib.import_module("unitree_sdk2py.utils.crc").CRC()
    begin, plain = time.monotonic(), bridge.ChannelPublisher.Write

    def write(self: Any, sample: Any, timeout: Any = None) -> Any:
        if isinstance(sample, bridge.LowState_):
            sample.tick = int(1e3 * (time.monotonic() - begin)) & 0xFFFFFFFF
            sample.crc = crc.Crc(sample)
        return plain(self, sample, timeout)

    bridge.ChannelPublisher.Write = write


def _drive_every_step(bridge: Any, mujoco: Any) -> None:
    """Let the drives hold the newest command at every step, as a robot's do."""
    told: list[np.ndarray] = []  # one of [5 20]: q dq tau kp kd
    step = mujoco.mj_step

    def hear(self: Any, message: Any) -> None:
        told[:] = [np.array([(m.q, m.dq, m.tau, m.kp, m.kd) for m in message.motor_cmd]).T]

    def driven(model: Any, data: Any) -> None:
        if told:
            q, dq, tau, kp, kd = told[0]
            joint = model.actuator_trnid[:, 0]
            now, speed = data.qpos[model.jnt_qposadr[joint]], data.qvel[model.jnt_dofadr[joint]]
            data.ctrl[:] = tau + kp * (q - now) + kd * (dq - speed)
        step(model, data)

    bridge.UnitreeSdk2Bridge.LowCmdHandler = hear
    mujoco.mj_step = driven


def main() -> None:
    """Be unitree_mujoco."""
    argv = sys.argv[1:]
    for i, key in enumerate(("simulator", "sdk")):
        if i < len(argv) and "=" not in argv[i] and not argv[i].startswith("-"):
            argv[i] = f"{key}={argv[i]}"
    program = "python tools/unitree_mujoco_headless.py"
    config = parse_or_exit(HeadlessConfig(), argv, program, __doc__ or "")
    for folder, file in (
        (config.simulator, "simulate_python/unitree_mujoco.py"),
        (config.sdk, "unitree_sdk2py/core/channel.py"),
    ):
        if not (Path(folder) / file).is_file():
            sys.exit(f"{program}: '{folder}' holds no {file}; the two checkouts come first")
    find_theirs(config)
    simulate(config)


if __name__ == "__main__":
    main()
