"""One episode without a wall clock: the same observe, infer and guard, deterministic.

For evaluation and tests. Time is counted in physics ticks, so the result depends on nothing but
policy, task and seed. Modes are not exercised here: the episode starts in POLICY.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runtime import h1
from runtime.guard import Action, Guard, GuardConfig
from runtime.loop import Ticker
from runtime.modes import Mode
from runtime.mujoco_robot import SUBSTEPS, MujocoRobot
from runtime.policy import Policy
from runtime.state import Command, JointTargets, RobotState

FALL_HEIGHT = 0.2  # m, the benchmark's termination for stand, walk and run
NOISE = 0.01  # the benchmark's start noise
SIMULATED = GuardConfig.simulated()


@dataclass(frozen=True, slots=True)
class Episode:
    """What came of one episode."""

    task: str
    seed: int
    total: float  # undiscounted return
    length: int  # control steps
    fell: bool
    findings: dict[str, int]  # guard monitor -> ticks it fired


def evaluate_lockstep(
    policy: Policy,
    task: str,
    seed: int,
    steps: int = 1000,
    *,
    guard: GuardConfig | None = SIMULATED,
    noise: float = NOISE,
    delay_ticks: int = 0,
    heading: float = 0.0,
    seen: Callable[[RobotState], None] | None = None,
) -> Episode:
    """Run one episode of at most `steps` control steps; it ends early when the robot falls.

    guard: None leaves the targets untouched. delay_ticks: physics ticks of 2 ms until new targets
    take effect, as over the wire. seen: is called with the robot's state before every write.
    """
    robot = MujocoRobot(task=task, fall_height=FALL_HEIGHT, noise=noise, seed=seed)
    robot.release()
    ticker = Ticker(policy, Command(task, heading))
    watch = Guard(guard) if guard is not None else None
    active: JointTargets | None = None
    length = 0
    while length < steps and not robot.fallen:
        wanted = ticker.tick(robot.read(), Mode.POLICY) or active
        if wanted is None:
            break
        for tick in range(SUBSTEPS):
            active = wanted if tick >= delay_ticks or active is None else active
            if seen is not None:
                seen(robot.read())
            if not _write(robot, active, watch):
                return _episode(robot, task, seed, length, watch)
        length += 1
    return _episode(robot, task, seed, length, watch)


def _write(robot: MujocoRobot, targets: JointTargets, guard: Guard | None) -> bool:
    if guard is None:
        robot.write(targets)
        return True
    state = robot.read()
    if guard.watch(state, 0.0, None) >= Action.DAMP:
        return False
    robot.write(guard.apply(targets, state, h1.PHYSICS_DT))
    return True


def _episode(robot: MujocoRobot, task: str, seed: int, length: int, guard: Guard | None) -> Episode:
    counts = {} if guard is None else {k: v for k, v in guard.counts.items() if v}
    return Episode(task, seed, robot.reward_sum, length, robot.fallen, counts)
