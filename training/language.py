"""Tasks told in words: vectors of their instructions, computed once, kept in a small file.

    python training/language.py out=training/phrases.safetensors
    python training/language.py encoder=sentence:<folder or name of a model> out=phrases.safetensors
    python training/run.py preset=h1_small language=training/phrases.safetensors

The encoder is needed for making the file only. `minilm` (all-MiniLM-L6-v2) made the one that is
shipped; it and `wordllama` bring their weights in a package (runtime/encoders.py, an extra).
`hashed-ngrams-<size>` compares spelling, not meaning, and needs nothing. `sentence:…` is any model
of the `sentence-transformers` package, whose weights are the caller's to bring. How well each does:
training/retrieval.py. The file is safetensors, float16: `<task>/known` [P, D] and
`<task>/held_out` [Q, D].
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from runtime import encoders
from runtime import language as spoken
from runtime.language import Encoder
from runtime.minilm import MissingEncoderError
from training.cli import ConfigError, choose, describe
from training.files import replacing
from training.phrases import PhraseEmbedding
from training.world_model import WorldModel

FORMAT = "ezm-phrases-1"
SHIPPED = Path(__file__).with_name("phrases.safetensors")
HASHED, MINILM = "hashed-ngrams-256", "minilm"
SPLITS = ("known", "held_out")
Texts = Mapping[str, Mapping[str, Sequence[str]]]  # phrases by task and split


class NotInstalledError(ConfigError):
    """An encoder's package is not there."""


class SentenceEncoder:
    """A model of the sentence-transformers package (not shipped, not installed by default)."""

    def __init__(self, model: str) -> None:
        try:
            from sentence_transformers import (  # pyright: ignore[reportMissingImports]
                SentenceTransformer,
            )
        except ModuleNotFoundError:
            raise NotInstalledError(
                f"encoder=sentence:{model} needs: pip install 'ezm[language]'; without it there is "
                f"{HASHED}"
            ) from None
        self.model, self.name = SentenceTransformer(model), f"sentence:{Path(model).name}"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.asarray(self.model.encode(list(texts), normalize_embeddings=True))


def open_encoder(name: str) -> Encoder:
    """Return the encoder that a name means.

    Raises:
        ConfigError: there is none of this name.
        NotInstalledError: its package is not here.
    """
    kind, _, rest = name.partition(":")
    if kind == "sentence" and rest:
        return SentenceEncoder(rest)
    try:
        return encoders.open_encoder(name)
    except MissingEncoderError as error:
        raise NotInstalledError(str(error)) from None
    except ValueError as error:
        raise ConfigError(f"{error}, sentence:<model>") from None


def instructions(tasks: Sequence[str] = ()) -> dict[str, dict[str, Sequence[str]]]:
    """Return the phrases of H1's tasks (all, or these; "h1hand-walk" is told as "walk")."""
    known, held_out = spoken.known_phrases(), spoken.held_out_phrases()
    plain = {name: name.rpartition("-")[2] for name in tasks or known}
    missing = [name for name, short in plain.items() if short not in known]
    if missing:
        raise ConfigError(f"no instructions for {missing}; there are some for {sorted(known)}")
    return {n: {"known": known[p], "held_out": held_out[p]} for n, p in plain.items()}


def digest(texts: Texts) -> str:
    """Return what changes when any phrase does."""
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]


def write(path: Path, texts: Texts, encoder: Encoder) -> None:
    """Encode all phrases and write them, in one step."""
    arrays = {
        f"{task}/{split}": encoder.encode(parts[split]).astype(np.float16)
        for task, parts in texts.items()
        for split in SPLITS
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"format": FORMAT, "encoder": encoder.name, "texts": digest(texts)}
    with replacing(path) as part:
        save_file(arrays, part, metadata=facts)


@dataclass(frozen=True)
class Phrases:
    """Vectors of some tasks' phrases."""

    known: Tensor  # [T, P, D], shorter lists repeated
    held_out: Tensor  # [T, Q, D]
    encoder: str
    texts: str  # digest


def read(path: Path, tasks: Sequence[str]) -> Phrases:
    """Read the vectors of these tasks.

    Raises:
        ConfigError: there is no such file, it is not ours, or it lacks a task.
    """
    try:
        with safe_open(path, framework="np") as file:
            facts = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"language={path}: {error}") from None
    if facts.get("format") != FORMAT:
        raise ConfigError(f"language={path}: format {facts.get('format')!r}, expected {FORMAT!r}")
    plain = {task: task if f"{task}/known" in arrays else task.rpartition("-")[2] for task in tasks}
    missing = [task for task, short in plain.items() if f"{short}/known" not in arrays]
    if missing:
        there = sorted({name.rpartition("/")[0] for name in arrays})
        raise ConfigError(f"language={path} has no phrases for {missing}; it has {there}")
    known, held_out = (
        _stack([arrays[f"{plain[task]}/{split}"] for task in tasks]) for split in SPLITS
    )
    return Phrases(known, held_out, facts["encoder"], facts["texts"])


def _stack(lists: Sequence[np.ndarray]) -> Tensor:
    most = max(len(vectors) for vectors in lists)
    return torch.from_numpy(np.stack([np.resize(v, (most, v.shape[1])) for v in lists])).float()


def told(model: WorldModel, vectors: Tensor) -> WorldModel:
    """Return a copy of a model whose tasks are told by the mean of vectors [T, Q, D]."""
    other = copy.deepcopy(model)
    embedding = other.task_embedding
    if not isinstance(embedding, PhraseEmbedding):
        raise ValueError("this model's task embeddings are learnt, it cannot be told anything")
    embedding.spoken.copy_(vectors.mean(1))
    return other


@dataclass(frozen=True)
class LanguageConfig:
    """What makes a file of phrase vectors."""

    encoder: str = (
        MINILM  # or wordllama, hashed-ngrams-<size>, sentence:<folder or name of a model>
    )
    out: str = "training/phrases.safetensors"  # file to write


def main() -> int:
    """Write the file, say what is in it."""
    words = [word for word in sys.argv[1:] if word not in ("-h", "--help")]
    try:
        config = choose(words, {"language": LanguageConfig()}, "language")
        if len(words) < len(sys.argv) - 1:
            print(__doc__, *describe(config), sep="\n")
            return 0
        texts = instructions()
        write(Path(config.out), texts, open_encoder(config.encoder))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    phrases = read(Path(config.out), list(texts))
    facts = {
        "encoder": phrases.encoder,
        "tasks": len(texts),
        "bytes": Path(config.out).stat().st_size,
    }
    print(json.dumps({**facts, "known": list(phrases.known.shape), "texts": phrases.texts}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
