"""An H1 in MuJoCo and the policy that runs it; starts by itself. Arguments: --show-args."""

from ezm_runtime.launching import h1


def generate_launch_description():
    """Start robot process and policy node."""
    return h1("mujoco")
