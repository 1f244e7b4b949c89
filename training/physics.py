"""Rows of MuJoCo: one `MjData` per row, stepped in C++, gathered into batched arrays.

What the arrays hold after a step is what HumanoidBench's rewards see there: `qpos` and `qvel` are
fresh, everything derived (sites, torso tilt, velocity of the centre of mass, actuator forces) is
one sub-step old, because sensors are computed at the start of `mj_step` and no `mj_forward` follows
the last sub-step.

Knows the robot and the scenes; knows no task, no reward and no action map.
"""

# The compiled part of mujoco ships no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime import h1
from training.assembly import SCENE_SENSOR, touch_table
from training.limits import REAL, Limits
from training.scenes import SCENES

Array = NDArray[np.float64]

SUBSTEPS = 10
NUM_QPOS, NUM_QVEL = 26, 25  # of the robot; things in the scene come behind it
RESET_NOISE = 0.01  # m, rad, and per quaternion component
LARGEST_SPEED = 1e6  # m/s or rad/s; MuJoCo calls 1e10 bad, a reward is meaningless long before

# columns of `Physics.sensors`; the order of runtime/h1.xml, checked in `assembly.build_model`
COM_VELOCITY = slice(0, 3)
HEAD_HEIGHT = 5
IMU_POSITION = slice(6, 9)
LEFT_FOOT_HEIGHT, RIGHT_FOOT_HEIGHT = 11, 14
FEET_HEIGHT = slice(LEFT_FOOT_HEIGHT, RIGHT_FOOT_HEIGHT + 1, 3)
LEFT_HAND_POSITION = slice(15, 18)
UPRIGHT = 20
TORQUE = slice(21, 40)
NUM_SENSORS = 40


class Physics:
    """E robots; `qpos` [E, 26], `qvel` [E, 25] and `sensors` [E, 40] are the newest readings.

    Also `scene` [E, 3], the reading of a row's scene, and `touching` [E] bool, whether a contact of
    it counts; both stay zero where the scene has none.
    """

    def __init__(
        self,
        models: Sequence[mujoco.MjModel],
        scenes: Sequence[str] = (),
        *,
        threads: int = 1,
    ) -> None:
        """Take one model per row and the name of its scene (default: floor); rows may share."""
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self.models = tuple(models)
        self.data = [mujoco.MjData(model) for model in self.models]
        rows = len(self.data)
        self.qpos, self.qvel = np.zeros((rows, NUM_QPOS)), np.zeros((rows, NUM_QVEL))
        self.sensors = np.zeros((rows, NUM_SENSORS))
        # Views of MuJoCo's own memory, so that a step touches no attribute of MjData.
        self._qpos = [data.qpos[:NUM_QPOS] for data in self.data]
        self._qvel = [data.qvel[:NUM_QVEL] for data in self.data]
        self._sensors = [data.sensordata[:NUM_SENSORS] for data in self.data]
        self._ctrl = [data.ctrl for data in self.data]
        self._watch(scenes or ("floor",) * rows)
        self.guarded = np.zeros(rows, dtype=bool)  # rows that are limited, see `guard`
        self._limits = REAL
        self.written = np.zeros((rows, h1.NUM_JOINTS))  # rad, the targets that act there
        self.fast = np.zeros(rows, dtype=np.int64)  # there: sub-steps in a row with a fast joint
        self.too_fast = np.zeros(rows, dtype=bool)  # there: since the reset, beyond the limits
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._chunks = [chunk.tolist() for chunk in np.array_split(np.arange(rows), threads)]

    def _watch(self, scenes: Sequence[str]) -> None:
        """Note which rows have things of their own, a reading, contacts that count."""
        rows = len(self.data)
        self.scene, self.touching = np.zeros((rows, 3)), np.zeros(rows, dtype=bool)
        tables = {
            id(model): touch_table(model, SCENES[name])
            for model, name in zip(self.models, scenes, strict=True)
            if SCENES[name].touches
        }
        self._touch = [
            (row, self.data[row], tables[id(self.models[row])])
            for row in range(rows)
            if SCENES[scenes[row]].touches
        ]
        self._read = [
            (row, self.data[row].sensor(SCENE_SENSOR).data)
            for row in range(rows)
            if SCENES[scenes[row]].reading
        ]
        self._things = [
            (row, data.qpos[NUM_QPOS:], data.qvel[NUM_QVEL:])
            for row, data in enumerate(self.data)
            if len(data.qpos) > NUM_QPOS
        ]

    def noise(self, row: int, generator: np.random.Generator, size: float) -> Array:
        """Draw the reset noise of one row, uniform in +-size, one number per entry of qpos."""
        return generator.uniform(-size, size, self.models[row].nq)

    def reset(self, row: int, pelvis: Sequence[float], noise: Array) -> None:
        """Put one row in its start pose plus noise on all of qpos, at rest, with zero control."""
        model, data = self.models[row], self.data[row]
        mujoco.mj_resetDataKeyframe(model, data, 0)
        data.qpos[:7] = pelvis
        data.qpos += noise
        mujoco.mj_normalizeQuat(model, data.qpos)  # MuJoCo 3.1's mj_forward did this by itself
        mujoco.mj_forward(model, data)
        self.written[row] = data.qpos[7:NUM_QPOS]
        self.fast[row], self.too_fast[row] = 0, False

    def imitate(self, row: int, other: int, written: Array) -> None:
        """Put one row's robot into the state of another's, above the origin.

        written: rad [19], the targets that its drives hold.
        """
        data, source = self.data[row], self.data[other]
        data.qpos[2:NUM_QPOS], data.qpos[:2] = source.qpos[2:NUM_QPOS], 0.0
        data.qvel[:NUM_QVEL] = source.qvel[:NUM_QVEL]
        mujoco.mj_forward(self.models[row], data)
        self.written[row] = self.written[other] if self.guarded[other] else written

    def place(self, row: int, x: float, y: float, yaw: float) -> None:
        """Put one row's robot, standing as it is, elsewhere: m, m, rad."""
        data = self.data[row]
        data.qpos[:2] = x, y
        data.qpos[3:7] = np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)
        mujoco.mj_forward(self.models[row], data)

    def guard(self, rows: NDArray[np.bool_], limits: Limits) -> None:
        """From now on move these rows' [E] targets, and watch their joints, as `limits` say."""
        self.guarded, self._limits = rows.copy(), limits

    def step(self, control: Array, previous: Array, delay: NDArray[np.int64]) -> None:
        """Advance every row by ten sub-steps.

        `control` [E, 19] (rad) acts after `delay` [E] sub-steps of `previous` [E, 19].
        """
        if self._pool is None:
            self._step_rows(range(len(self.data)), control, previous, delay)
        else:
            jobs = [
                self._pool.submit(self._step_rows, rows, control, previous, delay)
                for rows in self._chunks
            ]
            for job in jobs:
                job.result()
        self.gather()

    def _step_rows(
        self, rows: Sequence[int], control: Array, previous: Array, delay: NDArray[np.int64]
    ) -> None:
        step = mujoco.mj_step  # releases the GIL
        for row in rows:
            model, data, late = self.models[row], self.data[row], int(delay[row])
            if self.guarded[row]:
                self._step_guarded(row, control[row], previous[row], late)
                continue
            if late:
                self._ctrl[row][:] = previous[row]
                step(model, data, late)
            self._ctrl[row][:] = control[row]
            if late < SUBSTEPS:
                step(model, data, SUBSTEPS - late)

    def _step_guarded(self, row: int, control: Array, previous: Array, late: int) -> None:
        """As a robot process does it: look at the speeds, then write, every 2 ms."""
        model, data, limits = self.models[row], self.data[row], self._limits
        written, most = self.written[row], limits.rate * h1.PHYSICS_DT
        velocity, ctrl = self._qvel[row][6:], self._ctrl[row]
        for tick in range(SUBSTEPS):
            wanted = previous if tick < late else control
            written += np.clip(wanted - written, -most, most)
            ctrl[:] = written
            mujoco.mj_step(model, data)
            fastest = (np.abs(velocity) / h1.VELOCITY_LIMIT).max()
            fast = self.fast[row] = self.fast[row] + 1 if fastest > limits.velocity_factor else 0
            if fast >= limits.velocity_ticks or fastest > limits.velocity_most:
                self.too_fast[row] = True

    def gather(self) -> None:
        """Copy all rows' newest readings into the batched arrays."""
        np.concatenate(self._qpos, out=self.qpos.reshape(-1))
        np.concatenate(self._qvel, out=self.qvel.reshape(-1))
        np.concatenate(self._sensors, out=self.sensors.reshape(-1))
        for row, values in self._read:
            self.scene[row] = values
        for row, data, table in self._touch:
            pairs = data.contact.geom
            self.touching[row] = len(pairs) > 0 and table[pairs[:, 0], pairs[:, 1]].any()

    def state(self, row: int) -> Array:
        """Return qpos, then qvel, of the robot and of the things in its scene."""
        return np.concatenate([self.data[row].qpos, self.data[row].qvel])

    def diverged(self) -> NDArray[np.bool_]:
        """Return [E] bool: the row is not finite, or so fast that it soon will not be."""
        sane = np.abs(self.qvel).max(axis=1) < LARGEST_SPEED  # false for NaN
        sane &= np.isfinite(self.qpos).all(axis=1) & np.isfinite(self.sensors).all(axis=1)
        for row, position, velocity in self._things:
            sane[row] &= bool(np.isfinite(position).all() and np.isfinite(velocity).all())
        return ~sane

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()
