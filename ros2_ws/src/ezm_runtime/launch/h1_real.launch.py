"""An H1 and the policy that runs it. Arguments: see --show-args, and `ezm_runtime.describe`."""

from ezm_runtime.launching import h1


def generate_launch_description():
    """Start robot process and policy node."""
    return h1("unitree")
