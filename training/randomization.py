"""Domain randomisation: what differs from one episode of a robot to the next, and by how much.

Off unless asked for; the benchmark's own robot is always the same. Knows the compiled model and
the robot's generalised coordinates, no task.
"""

# The compiled part of mujoco ships no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]
Array = NDArray[np.float64]

SAME: Range = (1.0, 1.0)
NONE: Range = (0.0, 0.0)
CONTROL_SUBSTEPS = 10  # physics sub-steps of a control step; as in training/physics.py
FACTORS = ("friction", "mass", "inertia", "strength", "stiffness", "damping")
SENSED = {  # numbers of each sensed quantity
    "joint_position": 19,
    "joint_velocity": 19,
    "orientation": 3,
    "angular_velocity": 3,
    "base_velocity": 3,
}


@dataclass(frozen=True)
class Randomization:
    """Ranges (low, high), uniform, drawn anew for every episode; the default changes nothing.

    Factors multiply the robot's nominal figures. A noise range holds standard deviations, one drawn
    per episode; the noise itself is normal, new in every control step. A bias range holds constant
    errors, one drawn per episode and number. Noise, bias and mounting change the observation only:
    the true state and everything that is judged by it stay as they are.
    """

    friction: Range = SAME  # one factor, all geoms, the sliding coefficient
    mass: Range = SAME  # one factor per link, on its mass and with it its inertia
    inertia: Range = SAME  # one more factor per link, on its inertia alone
    strength: Range = SAME  # one factor per motor, on its torque limits
    stiffness: Range = SAME  # one factor per joint
    damping: Range = SAME  # one factor per joint
    latency: tuple[int, int] = (0, 0)  # sub-steps of 2 ms until a control acts, up to 10
    push_speed: Range = NONE  # m/s; the base's x and y velocity jump by this
    push_interval: float = 4.0  # s between pushes, on average; 0 for none
    joint_position_noise: Range = NONE  # rad
    joint_velocity_noise: Range = NONE  # rad/s
    orientation_noise: Range = NONE  # rad, about each axis of the pelvis
    angular_velocity_noise: Range = NONE  # rad/s
    base_velocity_noise: Range = NONE  # m/s
    joint_position_bias: Range = NONE  # rad
    joint_velocity_bias: Range = NONE  # rad/s
    orientation_bias: Range = NONE  # rad
    angular_velocity_bias: Range = NONE  # rad/s
    base_velocity_bias: Range = NONE  # m/s
    imu_mounting: Range = NONE  # rad, about each axis; turns what the IMU senses

    def __post_init__(self) -> None:
        """Refuse ranges that are empty or hold what cannot be."""
        for item in dataclasses.fields(self):
            name, value = item.name, getattr(self, item.name)
            if name == "push_interval":
                continue
            if len(value) != 2 or not value[0] <= value[1]:
                raise ValueError(f"{name} must be (low, high) with low <= high, got {value}")
            if name in FACTORS and not value[0] > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
            if name.endswith("_noise") and not value[0] >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if not 0 <= self.latency[0] <= self.latency[1] <= CONTROL_SUBSTEPS:
            raise ValueError(f"latency must lie in 0 .. {CONTROL_SUBSTEPS}, got {self.latency}")
        if not self.push_interval >= 0:
            raise ValueError(f"push_interval must not be negative, got {self.push_interval}")

    @property
    def disturbs_senses(self) -> bool:
        """Does the observation differ from the true state?"""
        ranges = [getattr(self, f"{name}_{kind}") for name in SENSED for kind in ("noise", "bias")]
        return any(tuple(entry) != NONE for entry in (*ranges, self.imu_mounting))

    def apply(
        self,
        model: mujoco.MjModel,
        nominal: mujoco.MjModel,
        data: mujoco.MjData,
        generator: np.random.Generator,
    ) -> None:
        """Overwrite `model`'s figures with newly drawn ones; `data` is scratch, left at qpos0."""
        mass = generator.uniform(*self.mass, model.nbody)
        model.geom_friction[:, 0] = nominal.geom_friction[:, 0] * generator.uniform(*self.friction)
        model.body_mass[:] = nominal.body_mass * mass
        stiffness = nominal.actuator_gainprm[:, 0] * generator.uniform(*self.stiffness, model.nu)
        model.actuator_gainprm[:, 0] = stiffness
        model.actuator_biasprm[:, 1] = -stiffness
        damping = generator.uniform(*self.damping, model.nu)
        model.actuator_biasprm[:, 2] = nominal.actuator_biasprm[:, 2] * damping
        inertia = mass * _draw(generator, self.inertia, SAME, model.nbody)
        model.body_inertia[:] = nominal.body_inertia * inertia[:, None]
        strength = _draw(generator, self.strength, SAME, model.nu)
        model.actuator_forcerange[:] = nominal.actuator_forcerange * strength[:, None]
        mujoco.mj_setConst(model, data)

    def push(self, generator: np.random.Generator) -> Array:
        """Return a jump of the base's horizontal velocity [2], m/s."""
        return generator.uniform(*self.push_speed, 2)

    def steps_to_push(self, generator: np.random.Generator, control_dt: float) -> int:
        """Return in how many control steps the next push comes; without pushes, 2**62."""
        if not self.push_interval or tuple(self.push_speed) == NONE:
            return 2**62
        return 1 + int(generator.exponential(self.push_interval / control_dt))


# What distillation gives its students: moderately different robots, and pushes.
MODERATE = Randomization(
    friction=(0.7, 1.2),
    mass=(0.9, 1.1),
    stiffness=(0.9, 1.1),
    damping=(0.9, 1.1),
    push_speed=(-0.3, 0.3),
)


class Senses:
    """What E robots feel instead of their true state; every row draws from its own generator."""

    def __init__(self, ranges: Randomization, rows: int) -> None:
        """Begin without any error; `begin` draws a row's."""
        self.ranges = ranges
        self.bias = {name: np.zeros((rows, size)) for name, size in SENSED.items()}
        self.scale = {name: np.zeros(rows) for name in SENSED}
        self.error = {name: np.zeros((rows, size)) for name, size in SENSED.items()}
        self.mounting = np.tile((1.0, 0.0, 0.0, 0.0), (rows, 1))  # quaternions w x y z

    def begin(self, row: int, generator: np.random.Generator) -> None:
        """Draw what stays the same over an episode, and the first noise."""
        for name, size in SENSED.items():
            self.bias[name][row] = _draw(
                generator, getattr(self.ranges, f"{name}_bias"), NONE, size
            )
            self.scale[name][row] = _draw(
                generator, getattr(self.ranges, f"{name}_noise"), NONE, 1
            )[0]
        self.mounting[row] = _quaternion(_draw(generator, self.ranges.imu_mounting, NONE, 3))
        self.feel(row, generator)

    def feel(self, row: int, generator: np.random.Generator) -> None:
        """Draw the errors of a new control step."""
        for name, size in SENSED.items():
            self.error[name][row] = self.bias[name][row]
            if self.scale[name][row]:
                self.error[name][row] += generator.normal(0.0, self.scale[name][row], size)

    def perceive(self, qpos: Array, qvel: Array) -> tuple[Array, Array]:
        """Return what is felt of true positions [E, 26] and velocities [E, 25]."""
        qpos, qvel, error = qpos.copy(), qvel.copy(), self.error
        if tuple(self.ranges.imu_mounting) != NONE or error["orientation"].any():
            turned = _multiply(qpos[:, 3:7], self.mounting)
            qpos[:, 3:7] = _multiply(turned, _quaternion(error["orientation"]))
            qvel[:, 3:6] = _to_frame(self.mounting, qvel[:, 3:6])
        qpos[:, 7:26] += error["joint_position"]
        qvel[:, 0:3] += error["base_velocity"]
        qvel[:, 3:6] += error["angular_velocity"]
        qvel[:, 6:25] += error["joint_velocity"]
        return qpos, qvel


def _draw(generator: np.random.Generator, limits: Range, off: Range, size: int) -> Array:
    """Draw uniformly [size]; where a range is off nothing is drawn, so that no other draw moves."""
    return np.full(size, off[0]) if tuple(limits) == off else generator.uniform(*limits, size)


def _quaternion(vector: Array) -> Array:
    """Return the quaternions [..., 4] w x y z of rotation vectors [..., 3], rad."""
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.concatenate([np.cos(angle / 2), 0.5 * np.sinc(angle / (2 * np.pi)) * vector], axis=-1)


def _multiply(left: Array, right: Array) -> Array:
    w, v, x, u = left[..., :1], left[..., 1:], right[..., :1], right[..., 1:]
    return np.concatenate(
        [w * x - (v * u).sum(-1, keepdims=True), w * u + x * v + np.cross(v, u)], axis=-1
    )


def _to_frame(quaternion: Array, vector: Array) -> Array:
    """Express vectors [..., 3] in the frames that are turned by these quaternions [..., 4]."""
    w, v = quaternion[..., :1], -quaternion[..., 1:]
    twice = 2.0 * np.cross(v, vector)
    return vector + w * twice + np.cross(v, twice)
