"""The H1 in MuJoCo behind `Robot`: PD evaluated at every physics step, a support, and the score.

The only runtime module, with the renderers, that imports mujoco. Knows no mode and no policy.
The support is simulation only, like a gantry: it pins the pelvis; `release` sets the robot down in
the keyframe, which is where training episodes start.
"""

# mujoco's bindings carry no types for their functions
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
import time

import mujoco
import numpy as np

from runtime import h1, score
from runtime.state import JointTargets, RobotState

MAX_BURST = 10  # physics steps in one write: after a longer stall simulated time slips
PUSH_MOST, PUSH_LONGEST = 2000.0, 2.0  # N, s: more is a slip of the hand
SUBSTEPS = round(h1.CONTROL_DT / h1.PHYSICS_DT)


class MujocoRobot:
    """One simulated H1 on flat ground, advanced by `write`."""

    alarm = ""

    def __init__(
        self, *, task: str = "stand", fall_height: float = 0.4, noise: float = 0.0, seed: int = 0
    ) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(h1.XML_PATH))
        self.data = mujoco.MjData(self.model)
        self.task = task
        self.fall_height = fall_height  # m, pelvis
        self.noise = noise  # half width of the uniform start noise on all coordinates
        self.reward = math.nan
        self.reward_sum = 0.0
        self.windows = 0
        self.slipped = 0  # physics steps that real time wanted and the simulator skipped
        self._random = np.random.default_rng(seed)
        self._gain = self.model.actuator_gainprm
        self._bias = self.model.actuator_biasprm
        self._sensors = {
            name: self._sensor(name) for name in ("head_pos", "torso_zaxis", "pelvis_subtreelinvel")
        }
        self._anchor: np.ndarray | None = None  # [7] pelvis pose the support holds
        self._placed = False
        self._substep = 0
        torso = int(self.model.body("torso_link").id)
        self._torso_force = self.data.xfrc_applied[torso, :3]  # view, N
        self._pushing = 0  # physics steps left of a push
        self.place()

    @property
    def fallen(self) -> bool:
        """True if the pelvis of the unsupported robot is below `fall_height`."""
        return self._anchor is None and bool(self.data.qpos[2] < self.fall_height)

    def read(self) -> RobotState:
        """Return the state now; the simulator knows it without delay or noise."""
        data = self.data
        return RobotState(
            stamp=time.monotonic(),
            orientation=data.qpos[3:7].copy(),
            angular_velocity=data.qvel[3:6].copy(),
            joint_position=data.qpos[7:26].copy(),
            joint_velocity=data.qvel[6:25].copy(),
            joint_torque=data.actuator_force.copy(),
            base_position=data.qpos[0:3].copy(),
            base_linear_velocity=data.qvel[0:3].copy(),
        )

    def write(self, targets: JointTargets, ticks: int = 1) -> None:
        """Hold the targets for `ticks` physics steps of 2 ms, at most MAX_BURST of them."""
        self._gain[:, 0] = targets.stiffness
        self._bias[:, 0] = targets.torque + targets.damping * targets.velocity
        self._bias[:, 1] = -targets.stiffness
        self._bias[:, 2] = -targets.damping
        self.data.ctrl[:] = targets.position
        self.slipped += max(0, ticks - MAX_BURST)
        for _ in range(min(ticks, MAX_BURST)):
            self._step()

    def place(self) -> None:
        """Reset to the keyframe and hold the pelvis there."""
        mujoco.mj_resetDataKeyframe(self.model, self.data, 0)
        self._anchor = self.data.qpos[:7].copy()
        self._placed = True
        mujoco.mj_forward(self.model, self.data)

    def catch(self) -> None:
        """Hold the pelvis where it is."""
        self._anchor, self._placed = self.data.qpos[:7].copy(), False

    def release(self) -> None:
        """Set the robot down: from `place` in the keyframe plus noise, from `catch` as it is."""
        self._anchor, self._substep = None, 0
        if self._placed:
            mujoco.mj_resetDataKeyframe(self.model, self.data, 0)
            qpos = self.data.qpos
            qpos += self._random.uniform(-self.noise, self.noise, qpos.size)
            qpos[3:7] /= np.linalg.norm(qpos[3:7])
            mujoco.mj_forward(self.model, self.data)

    def push(self, force: np.ndarray, seconds: float) -> tuple[bool, str]:
        """Push the torso with `force` [3] N in world axes for `seconds`; a new push replaces it."""
        if force.shape != (3,) or not np.linalg.norm(force) <= PUSH_MOST:
            return False, f"PUSH: expected three numbers of at most {PUSH_MOST:g} N together"
        if not 0.0 < seconds <= PUSH_LONGEST:
            return False, f"PUSH: seconds must be above 0 and at most {PUSH_LONGEST:g}"
        self._torso_force[:] = force
        self._pushing = max(1, round(seconds / h1.PHYSICS_DT))
        return True, ""

    def close(self) -> None:
        """Nothing to let go of."""

    def _sensor(self, name: str) -> np.ndarray:
        sensor = self.model.sensor(name)
        start = int(sensor.adr[0])
        return self.data.sensordata[start : start + int(sensor.dim[0])]

    def _step(self) -> None:
        mujoco.mj_step(self.model, self.data)
        if self._pushing:
            self._pushing -= 1
            if not self._pushing:
                self._torso_force[:] = 0.0
        if self._anchor is not None:
            self.data.qpos[:7] = self._anchor
            self.data.qvel[:6] = 0.0
            return
        self._substep += 1
        if self._substep % SUBSTEPS == 0:
            self._score()

    def _score(self) -> None:
        """Add one 20 ms window, from the same stale sensors as the benchmark reads."""
        self.reward = score.reward(
            self.task,
            float(self._sensors["head_pos"][2]),
            float(self._sensors["torso_zaxis"][2]),
            self._sensors["pelvis_subtreelinvel"],
            self.data.actuator_force,
        )
        self.reward_sum += self.reward
        self.windows += 1
