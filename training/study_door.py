"""The command `ezm-study`: training/study.py, or one sentence about what it lacks here."""

import sys

from training.door import interruptible


@interruptible("the same command resumes")
def main() -> int:
    """Run the study that the words ask for; return the exit code."""
    try:
        from training.study import main as study
    except ModuleNotFoundError as error:
        how = "pip install 'ezm[train]', or in a checkout pip install -e '.[train]'"
        print(f"error: {error}; a study needs {how}", file=sys.stderr)
        return 2
    return study()
