"""Train EZ-M.

    python training/run.py preset=h1_small out=runs/h1_small seed=0
    python training/run.py --help            every key, its default and type

The same command again resumes the run in `out`.
"""

import sys
from pathlib import Path


def main() -> int:
    try:
        from safetensors import SafetensorError

        from training import parallel
        from training.checkpoint import CheckpointError
        from training.cli import ConfigError, from_command_line
        from training.lock import alone
        from training.presets import load_config
        from training.trainer import Trainer
    except ModuleNotFoundError as error:
        how = "pip install 'ezm[train]', or in a checkout pip install -e '.[train]'"
        print(f"error: {error}; training needs {how}", file=sys.stderr)
        return 2
    try:
        config = from_command_line(load_config, __doc__)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if config is None:
        return 0
    try:
        mine = parallel.begin(config)
        with alone(Path(mine.out)):
            Trainer(mine).run()
    except (CheckpointError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (FloatingPointError, OSError, SafetensorError) as error:  # of these, a full disk
        print(f"error: {error}; the last checkpoint is as it was", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command resumes from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
