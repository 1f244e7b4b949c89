"""Train EZ-M.

    python training/run.py preset=h1_small out=runs/h1_small seed=0
    python training/run.py --help            every key, its default and type

The same command again resumes the run in `out`.
"""

import contextlib
import sys
from pathlib import Path


def main() -> int:
    """Train; return the exit code. Imports nothing of ours: it may not be installed."""
    try:
        return train()
    except KeyboardInterrupt:  # also while modules load
        print("interrupted; the same command resumes from the last checkpoint", file=sys.stderr)
        return 130


def train() -> int:
    try:
        from safetensors import SafetensorError

        from training import parallel
        from training.checkpoint import CheckpointError
        from training.cli import ConfigError, from_command_line
        from training.door import reason
        from training.lock import alone
        from training.presets import load_config
        from training.trainer import Trainer
    except ModuleNotFoundError as error:
        how = "pip install 'ezm[train]', or in a checkout pip install -e '.[train]'"
        print(f"error: {error}; training needs {how}", file=sys.stderr)
        return 2
    with contextlib.ExitStack() as stack:
        try:
            config = from_command_line(load_config, __doc__)
            if config is None:
                return 0
            mine = parallel.begin(config)
            stack.enter_context(alone(Path(mine.out)))
            trainer = Trainer(mine)
        except (
            ValueError,
            KeyError,
            OSError,
            MemoryError,
        ) as error:  # or an out= not to be written
            print(f"error: {reason(error)}", file=sys.stderr)
            return 2
        try:
            trainer.run()
        except (CheckpointError, ConfigError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except (FloatingPointError, OSError, SafetensorError) as error:  # of these, a full disk
            print(f"error: {error}; the last checkpoint is as it was", file=sys.stderr)
            return 1
        return 0


if __name__ == "__main__":
    sys.exit(main())
