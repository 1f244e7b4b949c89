"""Distil a trained planner into a small ONNX policy that a robot can run.

    python distill/run.py ckpt=runs/h1_small out=runs/distill seed=0
    python distill/run.py --help             every key, its default and type

`ckpt` is a run folder, a checkpoint folder or an agent.safetensors file (or, for comparison, a
demonstrator's best.safetensors). The same command again continues the distillation in `out`, which
also holds report.md and report.html at the end. The last line on screen is one JSON object.
"""

import sys


def main() -> int:
    try:
        from distill.config import PRESETS, load_config
        from distill.export import ParityError
        from distill.pipeline import distil, summary
        from distill.report import table
        from training.checkpoint import CheckpointError
        from training.cli import ConfigError, describe
    except ModuleNotFoundError as error:
        how = "pip install 'ezm[distill]', or in a checkout pip install -e '.[distill]'"
        print(f"error: {error}; distilling needs {how}", file=sys.stderr)
        return 2
    words = sys.argv[1:]
    if any(word in ("-h", "--help") for word in words):
        print(__doc__, *describe(PRESETS["h1"]), sep="\n")
        return 0
    try:
        card = distil(load_config(words), words)
    except (ConfigError, CheckpointError, ParityError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"error: {error}; the rounds before this one are kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    print(*card["warnings"], sep="\n", end="\n" if card["warnings"] else "")
    print(table(card["results"], tuple(card["retention"])))
    print(summary(card))
    return 0


if __name__ == "__main__":
    sys.exit(main())
