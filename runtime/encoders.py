"""Text encoders by name; each gives unit vectors, and none needs torch or the net.

    hashed-ngrams-<size>  spelling (runtime/language.py); nothing else is needed
    wordllama             meaning of single words: trained vectors of word pieces, their mean
    minilm                meaning of sentences: all-MiniLM-L6-v2 (runtime/minilm.py)

The last two are extras with their weights inside the package, and say what to install.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtime.language import Encoder, HashedNgrams
from runtime.minilm import MiniLM, MissingEncoderError

NAMES = ("hashed-ngrams-<size>", "wordllama", "minilm")


class WordLlama:
    """The package `wordllama` with the 256-dimensional weights that it ships."""

    name, size = "wordllama", 256

    def __init__(self) -> None:
        """Open the bundled weights; MissingEncoderError if the package or a file is not here."""
        try:
            import wordllama  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise MissingEncoderError(
                f"encoder wordllama needs: pip install wordllama==0.4.0.post1 ({error})"
            ) from None
        # it looks for its tokenizer in "tokenizer" and ships it in "tokenizers", where its cache
        # has it: without this the tokenizer is downloaded
        home = Path(str(wordllama.__file__)).parent
        try:
            self.model = wordllama.WordLlama.load(
                dim=self.size, cache_dir=home, disable_download=True
            )
        except FileNotFoundError as error:
            raise MissingEncoderError(f"encoder wordllama: {error}") from None

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors [N, 256] float32; a text without a word gives zeros."""
        if not texts:
            return np.zeros((0, self.size), np.float32)
        full = [bool(text.strip()) for text in texts]
        said = [text.lower() if text.strip() else "nothing" for text in texts]
        means = np.asarray(self.model.embed(said)) * np.array(full)[:, None]
        length = np.linalg.norm(means, axis=1, keepdims=True)
        return (means / np.maximum(length, 1e-12)).astype(np.float32)


@functools.lru_cache(maxsize=4)
def open_encoder(name: str) -> Encoder:
    """Return the encoder of a name.

    Raises:
        ValueError: there is none of this name.
        MissingEncoderError: its package is not installed.
    """
    if name == "minilm":
        return MiniLM()
    if name == "wordllama":
        return WordLlama()
    size = name.removeprefix("hashed-ngrams-")
    if name.startswith("hashed-ngrams-") and size.isdigit() and int(size):
        return HashedNgrams(int(size))
    raise ValueError(f"encoder={name!r}; there are {', '.join(NAMES)}")
