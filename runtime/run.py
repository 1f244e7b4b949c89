"""Run a policy on a robot, without ROS: `python runtime/run.py policy=... task=stand robot=mujoco`.

Starts the robot process, the 50 Hz loop and a status line; ends with one line of JSON.
"""

import sys


def main() -> None:
    """Read the command line and run; Ctrl-C while still loading ends quietly too."""
    try:
        from runtime.cli import parse_or_exit
        from runtime.session import RunConfig, run

        words = sys.argv[1:]
        config = parse_or_exit(RunConfig(), words, "python runtime/run.py", __doc__ or "")
        code = run(config)
    except ModuleNotFoundError as error:
        how = "make run does all that; or pip install 'ezm[sim]', in a checkout -e '.[sim]'"
        sys.exit(f"error: {error}; {how}")
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
