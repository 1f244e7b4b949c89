"""What a run folder says of its checkpoints: the newest, the best, and how it was resumed.

Knows the names of their files, not what is in them; `training.checkpoint` does.
"""

import contextlib
import json
from pathlib import Path

from training.changes import Changes
from training.files import write_text

ACTING = ("agent.safetensors", "state.json")  # files of a checkpoint that can act
RESUMING = (*ACTING, "learner.safetensors")  # and, with a replay, of one that can go on


class CheckpointError(ValueError):
    """A checkpoint that is not there, not complete, or not ours."""


def latest(run: Path) -> Path | None:
    """Return the checkpoint that a run's `latest` names, None if there is none."""
    pointer = Path(run) / "checkpoints" / "latest"
    if not pointer.is_file():
        return None
    name = pointer.read_text(errors="replace").replace("\0", "").strip()  # zeros after a crash
    folder = pointer.parent / name
    return folder if name and (folder / "state.json").is_file() else None


def resumable(run: Path) -> Path | None:
    """Return the checkpoint that a run goes on from, None if it has none yet.

    It is the one that `latest` names; if that file is gone or broken, the newest complete one.

    Raises:
        CheckpointError: there are checkpoints, and none of them is complete.
    """
    whole, numbered = complete(run), _numbered(run)
    folder = latest(run) or (whole[-1] if whole else None)
    if folder is None and numbered:
        raise CheckpointError(
            f"{run / 'checkpoints'} names no checkpoint in its file latest, and none of "
            f"{[there.name for there in numbered]} has all of {', '.join(RESUMING)} (and, but for "
            "replay.save=false, replay.safetensors); a new run needs another out= (init= gives it "
            "the weights of one of these)"
        )
    return folder


def complete(run: Path) -> list[Path]:
    """Return the checkpoints of a run that it can go on from, the oldest first."""
    return [folder for folder in _numbered(run) if _has(folder, RESUMING) and _has_replay(folder)]


def _has_replay(folder: Path) -> bool:
    """Tell whether a checkpoint has its replay, or was made to have none."""
    if (folder / "replay.safetensors").is_file():
        return True
    try:
        return json.loads((folder / "state.json").read_text())["replay"] is False
    except (OSError, ValueError, KeyError, TypeError):
        return False


def newest(run: Path, files: tuple[str, ...]) -> Path | None:
    """Return the newest checkpoint of a run that has these files."""
    for folder in reversed(_numbered(run)):
        if _has(folder, files):
            return folder
    return None


def _has(folder: Path, files: tuple[str, ...]) -> bool:
    return all((folder / name).is_file() for name in files)


def _numbered(run: Path) -> list[Path]:
    """Return the folders of a run's checkpoints, the oldest first."""
    there = (Path(run) / "checkpoints").glob("*")
    folders = [path for path in there if path.is_dir() and path.name.isdigit()]
    return sorted(folders, key=lambda path: int(path.name))


def best(run: Path) -> Path:
    """Return the checkpoint of a run whose planner was worth most when it was evaluated.

    Raises:
        CheckpointError: none was evaluated, or it is gone.
    """
    folder = None
    with contextlib.suppress(OSError, ValueError, KeyError):
        folder = run / "checkpoints" / json.loads((run / "best.json").read_text())["checkpoint"]
    if folder is None or not (folder / "agent.safetensors").is_file():
        raise CheckpointError(
            f"{run} knows no best checkpoint: it is named by the first evaluation of its planner "
            "(evaluate_every)"
        )
    return folder


def note_evaluation(run: Path, updates: int, worth: float, returns: dict[str, float]) -> bool:
    """Take down how good a run's checkpoint was, unless an earlier one was better.

    worth: what counts, see `evaluation.worth`; returns: by task, to be read. Learning swings, and
    the newest checkpoint may be far from the best. Returns whether it is the best so far.
    """
    file, before = run / "best.json", None
    with contextlib.suppress(OSError, ValueError, KeyError):
        before = json.loads(file.read_text())["worth"]
    if before is not None and before > worth:
        return False
    facts = {"checkpoint": f"{updates:08d}", "worth": round(worth, 4), "returns": returns}
    write_text(file, json.dumps(facts, indent=1))
    return True


def note_resume(run: Path, updates: int, changed: Changes, git: str) -> None:
    """Take down in config.json what a resumed run has otherwise; what it began with stays.

    Nothing is written where nothing changed, the commit `git` included.
    """
    file = run / "config.json"
    try:
        record = json.loads(file.read_text())
        before = record["config"] and record.get("resumed", [])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # no record of ours to add to
    known = before[-1]["git"] if before else record.get("git")
    here = {key: pair[1] for key, pair in changed.items()}
    entry = {"updates": updates, "changed": here, "git": git}
    if (changed or git != known) and entry not in before[-1:]:
        write_text(file, json.dumps({**record, "resumed": [*before, entry]}, indent=1))
