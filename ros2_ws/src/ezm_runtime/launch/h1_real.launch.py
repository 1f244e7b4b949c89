"""A real H1 and the policy that runs it; never starts by itself. Arguments: --show-args.

Read docs/safety.md first.
"""

from ezm_runtime.launching import h1


def generate_launch_description():
    """Start robot process, policy node and recorder."""
    return h1("unitree")
