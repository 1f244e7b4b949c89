"""The learner on two processes takes the steps of one."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training import checkpoint, parallel
from training.cli import ConfigError
from training.presets import PRESETS

SMALL = PRESETS["h1_small"]
SCRIPT = """
import dataclasses, sys
import torch, torch.distributed as dist
from safetensors.torch import save_file
from training import parallel
from training.agent import build_model
from training.learner import Learner
from training.presets import PRESETS
from training.reanalyse import TrainingBatch

rank, file, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
world = 2 if rank >= 0 else 1
if world == 2:
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
debug = PRESETS["debug"]
config = dataclasses.replace(debug, optim=dataclasses.replace(debug.optim, freeze_norm_after=1))
torch.manual_seed(rank + 5)
model = build_model(config)
if world == 1:
    torch.manual_seed(5)
    model = build_model(config)
learner = Learner(model, config)
learner.updates = 1  # observation statistics stay as they are
parallel.begin_equal(learner.model, learner.updates)
g = torch.Generator().manual_seed(0)
B, P, U, O, A = 8, 3, 2, 51, 19
draw = lambda *shape: torch.rand(*shape, generator=g)
whole = dict(
    task=torch.arange(B) % 2, observation=draw(B, P, O), action=draw(B, U, A) - 0.5,
    reward=draw(B, U), value=10 * draw(B, P), policy=draw(B, P, A) - 0.5, weight=draw(B) + 0.5,
    step_mask=torch.ones(B, P, dtype=torch.bool), policy_mask=torch.ones(B, P),
)
mine = slice(None) if world == 1 else slice(4 * rank, 4 * rank + 4)
learner.update(TrainingBatch(**{k: v[mine] for k, v in whole.items()}))
named = list(learner.model.named_parameters())
kept = {f"weight/{n}": p.detach() for n, p in named}
save_file(kept | {f"grad/{n}": p.grad for n, p in named if p.grad is not None}, out)
"""


@pytest.mark.slow
def test_two_gloo_processes_give_the_gradients_and_the_weights_of_one(tmp_path):
    def start(rank):
        command = [sys.executable, "-c", SCRIPT, str(rank), str(tmp_path / "meet"),
                   str(tmp_path / f"{rank}.st")]  # fmt: skip
        return subprocess.Popen(command, cwd=Path(__file__).parents[2])

    assert [process.wait() for process in [start(0), start(1)]] == [0, 0]
    assert start(-1).wait() == 0
    one, first, second = (load_file(tmp_path / f"{rank}.st") for rank in (-1, 0, 1))
    assert any(name.startswith("grad/") for name in one)
    for name, tensor in one.items():
        assert torch.equal(first[name], second[name]), name
        if name.startswith("grad/"):
            assert torch.allclose(first[name], tensor, rtol=1e-3, atol=1e-6), name


@pytest.mark.slow
def test_two_processes_skip_an_update_together_if_one_has_a_sample_that_is_not_finite(tmp_path):
    """A value target of the second process is infinite; the next update is sound again."""
    script = SCRIPT.replace(
        "learner.update(TrainingBatch(**{k: v[mine] for k, v in whole.items()}))",
        """
sound = TrainingBatch(**{k: v[mine] for k, v in whole.items()})
broken = dataclasses.replace(sound, value=sound.value.clone())
if rank == 1:
    broken.value[2] = float("inf")
start = [p.detach().clone() for p in learner.model.parameters()]
learner.update(broken)
assert all(torch.equal(p, q) for p, q in zip(learner.model.parameters(), start, strict=True))
assert (learner.updates, learner.skipped) == (2, 1)
assert learner.guilty.tolist() == [False, False, rank == 1, False]
learner.update(sound)
assert (learner.updates, learner.skipped) == (3, 0)
""",
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(rank), str(tmp_path / "meet"),
             str(tmp_path / f"{rank}.st")], cwd=Path(__file__).parents[2],
        )
        for rank in (0, 1)
    ]  # fmt: skip
    assert [process.wait() for process in processes] == [0, 0]
    first, second = (load_file(tmp_path / f"{rank}.st") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_shares_add_up_and_the_ratio_of_updates_to_all_steps_stays():
    parts = [parallel.share(SMALL, rank, 4) for rank in range(4)]
    assert sum(part.optim.batch for part in parts) == SMALL.optim.batch
    assert sum(p.collect.envs_per_task for p in parts) == SMALL.collect.envs_per_task
    # updates = ratio x steps of one process; the steps of all are four times those
    assert parts[0].update_ratio / 4 == SMALL.update_ratio
    assert len({part.seed for part in parts}) == len({part.out for part in parts}) == 4
    assert parts[0].out == SMALL.out


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"max_minutes": 5.0}, "max_minutes"),
        ({"optim": dataclasses.replace(SMALL.optim, batch=126)}, "optim.batch=126.*2 processes"),
    ],
)
def test_what_does_not_divide_or_would_let_processes_part_is_refused(change, match):
    with pytest.raises(ConfigError, match=match):
        parallel.share(dataclasses.replace(SMALL, **change), 0, 2)


def test_without_torchrun_nothing_changes(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert parallel.begin(SMALL) is SMALL
    assert not parallel.joined()


DOOR = """
import os, sys
from training import checkpoint
from training.run import main
from training.trainer import Trainer

stop_at, learn = int(os.environ["STOP_AT"]), Trainer._learn

def until_the_plug_is_pulled(self):
    if self.learner.updates == stop_at:
        raise KeyboardInterrupt
    learn(self)

Trainer._learn = until_the_plug_is_pulled

rank, when = os.environ["RANK"], os.environ.get("DIES", "")  # at update 8, of process 1
save, write_text = checkpoint.save_run, checkpoint.write_text

def killed(run, learner, *rest):
    if learner.updates == 8 and rank == "1" and when == "before":
        os._exit(9)  # process 0 has written its part and waits
    return save(run, learner, *rest)

def naming(path, text):
    if path.name == "latest" and text == "00000008" and rank == "1" and when == "between":
        os._exit(9)  # process 0 has named its part
    write_text(path, text)

checkpoint.save_run, checkpoint.write_text = killed, naming
sys.exit(main())
"""
WORDS = ("preset=debug", "updates=12", "segment=4", "evaluate_every=1000", "log_every=4",
         "update_ratio=0.1", "collect.random_steps=64", "collect.episode_steps=9",
         "optim.batch=16")  # fmt: skip


def torchrun(out, stop_at, **environment):
    """Run the door beside `out` as two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               "--nproc-per-node=2", str(out.parent / "door.py"), *WORDS, f"out={out}"]  # fmt: skip
    environment = os.environ | environment | {
        "STOP_AT": str(stop_at), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }  # fmt: skip
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_run_of_two_processes_stays_one_learner_and_resumes_to_the_same_numbers(tmp_path):
    """The whole door under torchrun, with the robot: straight through, interrupted at 6, and one
    process killed while both save, before its part is written and before it is named."""
    (tmp_path / "door.py").write_text(DOOR)

    straight, broken = torchrun(tmp_path / "straight", -1), torchrun(tmp_path / "broken", 6)
    assert straight.returncode == 0, straight.stderr
    assert broken.returncode != 0
    assert checkpoint.latest(tmp_path / "broken").name == "00000004"
    rest = torchrun(tmp_path / "broken", -1)
    assert rest.returncode == 0, rest.stderr
    assert rest.stdout.count("at 4 updates") == 2

    for when, left, taken_up in (("before", "00000004", 4), ("between", "00000004", 8)):
        killed = torchrun(tmp_path / when, -1, DIES=when)
        assert killed.returncode != 0
        assert checkpoint.latest(tmp_path / when / "rank1").name == left
        rest = torchrun(tmp_path / when, -1)
        assert rest.returncode == 0, rest.stderr
        assert rest.stdout.count(f"at {taken_up} updates") == 2

    def agent(folder):
        return load_file(tmp_path / folder / "checkpoints/00000012/agent.safetensors")

    first = agent("straight")
    for other in ("straight/rank1", "broken", "broken/rank1", "before/rank1", "between/rank1"):
        assert all(torch.equal(first[name], tensor) for name, tensor in agent(other).items()), other
    for folder in (tmp_path / "straight", tmp_path / "straight/rank1"):
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
        assert [row["updates"] for row in rows] == [4, 8, 12]
        # 0.1 updates per step of both together, two rows of a task each: 0.2 * 54 < 11 < 0.2 * 56
        assert rows[-1]["steps"] == 56
    data = [load_file(tmp_path / f"straight{rank}/checkpoints/00000012/replay.safetensors")
            for rank in ("", "/rank1")]  # fmt: skip
    assert not torch.equal(data[0]["0/action"], data[1]["0/action"])  # each has its own experience


def test_processes_go_on_from_the_newest_checkpoint_that_all_have(tmp_path, monkeypatch):
    def process(*own):
        for name in own:
            folder = tmp_path / "checkpoints" / name
            folder.mkdir(parents=True, exist_ok=True)
            for file in ("agent", "learner", "replay"):
                (folder / f"{file}.safetensors").touch()
            (folder / "state.json").write_text("{}")

    process("00000020", "00000040")
    others = []

    def gather(found, mine):
        found[:] = [mine, *others]

    monkeypatch.setattr(parallel, "joined", lambda: True)
    monkeypatch.setattr(parallel.dist, "get_world_size", lambda: 1 + len(others))
    monkeypatch.setattr(parallel.dist, "all_gather_object", gather)
    others[:] = [["00000020", "00000040", "00000060"]]
    assert parallel.resumable(tmp_path).name == "00000040"
    others[:] = [["00000020"], ["00000020", "00000040"]]
    assert parallel.resumable(tmp_path).name == "00000020"
    others[:] = [[]]
    with pytest.raises(checkpoint.CheckpointError, match=r"no checkpoint in common.*00000040"):
        parallel.resumable(tmp_path)
    assert parallel.resumable(tmp_path / "new") is None
