"""An H1 in MuJoCo, run by a policy: `ros2 launch ezm_runtime h1_sim.launch.py --show-args`."""

from ezm_runtime.launching import h1


def generate_launch_description():
    """Robot process and policy node."""
    return h1("mujoco")
