"""SAC and its shared replay: densities, n-step targets, and that it learns."""

import numpy as np
import pytest
import torch

from training.sac import Actor, Critics, Sac, SacConfig
from training.shared_replay import Samples, SharedReplay


def filled(steps=12, rows=4, tasks=2, end=None, terminal=True):
    """Rewards are 1, 2, 3 … by column for task 0 and ten times that for task 1."""
    owner = np.repeat(np.arange(tasks), rows // tasks)
    replay = SharedReplay(rows, 400, 1, 1, tasks, owner, 2)
    for step in range(steps):
        place = np.full((rows, 1), float(step), np.float32)
        reward = np.tile([[step + 1.0, 10.0 * (step + 1)]], (rows, 1))
        replay.add(place, place / 100, reward, np.tile(np.float32([0.5, 2.0]), (rows, 1)))
        if end is not None and step == end:
            replay.finish(np.arange(rows), place + 1, np.full(rows, terminal))
    return replay


def test_returns_sum_own_rewards_over_n_steps_and_others_over_one():
    replay = filled()
    batch = replay.sample(400, 3, 0.5, 0.5, np.random.default_rng(0))
    first, after = batch.observation[:, 0], batch.next_observation[:, 0]
    length = after - first
    assert set(length) == {1.0, 3.0}
    scale = np.where(batch.task == 0, 1.0, 10.0)
    one = first + 1
    three = one + 0.5 * (one + 1) + 0.25 * (one + 2)
    np.testing.assert_allclose(batch.reward, scale * np.where(length == 1, one, three), rtol=1e-6)
    np.testing.assert_allclose(batch.next_discount, 0.5**length)


@pytest.mark.parametrize("terminal", [True, False])
def test_returns_stop_at_the_end_of_an_episode(terminal):
    replay = filled(end=5, terminal=terminal)
    batch = replay.sample(2000, 3, 0.5, 1.0, np.random.default_rng(0))
    before = batch.observation[:, 0] <= 5
    assert (batch.next_observation[before, 0] <= 6).all()
    ends = before & (batch.next_observation[:, 0] == 6)
    assert ends.any()
    steps = 6 - batch.observation[ends, 0]
    np.testing.assert_allclose(batch.next_discount[ends], 0.0 if terminal else 0.5**steps)


def test_final_frames_are_never_roots():
    replay = filled(end=5)
    batch = replay.sample(4000, 3, 0.9, 0.5, np.random.default_rng(1))
    assert (batch.reward > 0).all()  # a final frame has none


def test_every_task_pays_its_own_prices_at_every_step():
    replay = filled()
    prices = np.float32([[4.0, 0.0], [0.0, 3.0]])
    free = replay.sample(100, 3, 0.5, 1.0, np.random.default_rng(0))
    dear = replay.sample(100, 3, 0.5, 1.0, np.random.default_rng(0), prices)
    paid = np.where(free.task == 0, 4.0 * 0.5, 3.0 * 2.0) * (1 + 0.5 + 0.25)
    np.testing.assert_allclose(free.reward - dear.reward, paid, rtol=1e-5)


def test_smoothness_brings_the_actions_of_neighbouring_states_together():
    def jump(smooth):
        torch.manual_seed(0)
        sac = Sac(1, 1, 1, SacConfig(width=32, actor_lr=3e-3))
        torch.nn.init.normal_(sac.actor.head.weight, std=0.5)
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        for _ in range(100):
            state = rng.normal(size=(64, 1)).astype(np.float32)
            action = rng.uniform(-1, 1, (64, 1)).astype(np.float32)
            batch = Samples(state, action, np.zeros(64, int), np.zeros(64, np.float32),
                            state + 0.5, np.zeros(64, np.float32))  # fmt: skip
            metrics = sac.update(batch, generator, smooth)
        return metrics["jump"] if smooth else None, sac

    def spread(sac):
        states = torch.linspace(-2, 2, 50)[:, None]
        mean = torch.tanh(sac.actor(sac.inputs(states, torch.zeros(50, dtype=torch.long)))[0])
        return float((mean[1:] - mean[:-1]).abs().mean().detach())

    reported, smoothed = jump(5.0)
    assert spread(smoothed) < 0.5 * spread(jump(0.0)[1])
    assert reported < 0.05


def test_every_task_gets_as_many_samples():
    batch = filled().sample(300, 3, 0.9, 0.5, np.random.default_rng(0))
    assert abs((batch.task == 0).sum() - 150) <= 1


def test_a_full_ring_forgets_the_oldest_and_keeps_sampling():
    replay = filled(steps=500)
    assert len(replay) == 400
    batch = replay.sample(500, 3, 0.9, 0.5, np.random.default_rng(0))
    assert batch.observation.min() >= 400


def test_saved_replay_comes_back(tmp_path):
    replay = filled(end=5)
    replay.save(tmp_path / "replay.safetensors")
    again = SharedReplay(4, 400, 1, 1, 2, replay.owner, 2)
    again.load(tmp_path / "replay.safetensors")
    one = replay.sample(64, 3, 0.9, 0.5, np.random.default_rng(7))
    two = again.sample(64, 3, 0.9, 0.5, np.random.default_rng(7))
    for name in vars(one):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_a_replay_of_other_tasks_is_refused(tmp_path):
    filled().save(tmp_path / "r.safetensors")
    with pytest.raises(ValueError, match="rows x columns x tasks"):
        SharedReplay(4, 400, 1, 1, 3, np.zeros(4, int), 2).load(tmp_path / "r.safetensors")


def test_log_density_agrees_with_torch_distributions():
    torch.manual_seed(0)
    actor = Actor(5, 3, 16).double()
    torch.nn.init.normal_(actor.head.weight, std=0.5)
    x, noise = torch.randn(50, 5).double(), torch.randn(50, 3).double()
    action, density = actor.sample(x, noise)
    mean, log_std = actor(x)
    normal = torch.distributions.Normal(mean, log_std.exp())
    squashed = torch.distributions.TransformedDistribution(
        normal, [torch.distributions.transforms.TanhTransform(cache_size=1)]
    )
    torch.testing.assert_close(density, squashed.log_prob(action).sum(-1), rtol=1e-4, atol=1e-4)


def test_the_two_critics_do_not_see_each_other():
    torch.manual_seed(0)
    critics = Critics(4, 8)
    q = critics(torch.randn(6, 4))
    q[0].sum().backward()
    for parameter in critics.parameters():
        assert parameter.grad is None or not parameter.grad[1].any()


def test_it_learns_where_to_go_for_each_of_two_tasks():
    """Reward of task k: -(a - goal_k)^2, one step; the mean action must come near the goals."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    goals = np.array([0.6, -0.4])
    sac = Sac(1, 1, 2, SacConfig(width=32, actor_lr=3e-3, critic_lr=3e-3, average_rate=0.05))
    generator = torch.Generator().manual_seed(0)
    for _ in range(600):
        task = rng.integers(2, size=64)
        state = rng.normal(size=(64, 1)).astype(np.float32)
        action = rng.uniform(-1, 1, (64, 1)).astype(np.float32)
        reward = -((action[:, 0] - goals[task]) ** 2).astype(np.float32) * 10
        zero = np.zeros(64, np.float32)
        sac.update(Samples(state, action, task, reward, state, zero), generator)
    found = sac.best(torch.zeros(2, 1), torch.tensor([0, 1]))[:, 0].numpy()
    np.testing.assert_allclose(found, goals, atol=0.15)
