"""Which engine there is, and what is refused."""

import sys

import pytest

from training.cli import ConfigError
from training.config import RayConfig
from training.engine import LocalEngine
from training.presets import load_config
from training.trainer import Trainer


def test_without_a_word_everything_runs_in_this_process(toy, tmp_path):
    run = Trainer(toy.tiny(tmp_path), make_env=toy.Env, sizes=toy.sizes)
    assert type(run.engine) is LocalEngine


def test_ray_without_its_package_is_refused_with_the_remedy(toy, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "training.actors", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"engine=ray needs the package ray: pip install"):
        Trainer(toy.tiny(tmp_path, engine="ray"), make_env=toy.Env, sizes=toy.sizes)


def test_an_engine_that_does_not_exist_and_numbers_that_make_none_are_refused():
    with pytest.raises(ConfigError, match=r"engine='rai'; there are local, ray"):
        load_config(["preset=debug", "engine=rai"])
    with pytest.raises(ConfigError, match=r"ray\.steps=0 is less than 1"):
        RayConfig(steps=0)
    with pytest.raises(ConfigError, match=r"ray\.collectors=9 share 8 environments"):
        load_config(["preset=debug", "engine=ray", "ray.collectors=9"])
    assert load_config(["preset=debug", "ray.reanalysers=0"]).ray.reanalysers == 0
