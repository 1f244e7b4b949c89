"""Train EZ-M.

    python training/run.py preset=h1_small out=runs/h1_small seed=0
    python training/run.py --help            every key, its default and type

The same command again resumes the run in `out`.
"""

import contextlib
import sys
from pathlib import Path


def main() -> int:
    interrupted = "interrupted; the same command resumes from the last checkpoint"
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
    except KeyboardInterrupt:  # loading takes seconds
        print(interrupted, file=sys.stderr)
        return 130
    trainer = None
    with contextlib.ExitStack() as stack:
        try:
            config = from_command_line(load_config, __doc__)
            if config is None:
                return 0
            mine = parallel.begin(config)
            stack.enter_context(alone(Path(mine.out)))
            trainer = Trainer(mine)
            trainer.run()
        except KeyboardInterrupt:
            print(interrupted, file=sys.stderr)
            return 130
        except (CheckpointError, ConfigError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except (OSError, SafetensorError, FloatingPointError) as error:  # of these, a full disk
            kept = "; the last checkpoint is as it was" if trainer else ""
            print(f"error: {reason(error)}{kept}", file=sys.stderr)
            return 1 if trainer else 2
        except (ValueError, KeyError, MemoryError) as error:
            if trainer:
                raise
            print(f"error: {reason(error)}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
