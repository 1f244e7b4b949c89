"""One gradient step: normaliser, optimiser, moving average."""

import dataclasses

import pytest
import torch

from training.config import LossConfig, OptimConfig, TargetConfig
from training.learner import Learner, ascent, unrolled_losses
from training.presets import PRESETS

U = 3  # of the batches
CONFIG = dataclasses.replace(
    PRESETS["debug"],
    updates=100,
    targets=TargetConfig(unroll=U, reanalyse_positions=1),
    loss=LossConfig(entropy=0.0, entropy_mode="off"),
    optim=OptimConfig(ema=0.5, ema_every=2, l2=0.0),
)


def test_the_normaliser_absorbs_every_living_frame_once_and_no_dead_one(small):
    batch = small.batch()
    dead = torch.where(batch.step_mask.unsqueeze(-1), batch.observation, 1e6)
    learner = Learner(small.model(), CONFIG)
    learner.update(dataclasses.replace(batch, observation=dead))
    frames = batch.observation[batch.step_mask]
    assert learner.model.obs_norm.count == 1000.0 + len(frames)
    assert torch.allclose(learner.model.obs_norm.mean, frames.sum(0) / (1000.0 + len(frames)))


@pytest.mark.parametrize(("after", "absorbed"), [(0, 4), (1, 1), (3, 3)])
def test_observation_statistics_are_frozen_after_so_many_updates_and_with_0_never(
    small, after, absorbed
):
    optim = dataclasses.replace(CONFIG.optim, freeze_norm_after=after)
    learner, batch = Learner(small.model(), dataclasses.replace(CONFIG, optim=optim)), small.batch()
    seen = []
    for _ in range(4):
        learner.update(batch)
        seen.append(learner.model.obs_norm.mean.clone())
    assert learner.model.obs_norm.count == 1000.0 + absorbed * int(batch.step_mask.sum())
    assert torch.equal(seen[-1], seen[absorbed - 1])
    assert absorbed == 1 or not torch.equal(seen[-1], seen[absorbed - 2])


def test_the_loss_is_the_weighted_mean_over_samples_divided_by_the_unroll(small):
    learner, batch = Learner(small.model(), CONFIG), small.batch()
    metrics, error = learner.update(batch)
    fresh = small.model().train()
    fresh.obs_norm.update(batch.observation[batch.step_mask])
    terms, root = unrolled_losses(fresh, batch, CONFIG.loss, CONFIG.search.discount)
    coefficient = {"reward": 1.0, "value": 0.5, "policy": 1.0, "consistency": 5.0,
                   "path_consistency": 0.5}  # fmt: skip
    total = sum(coefficient[name] * terms[name] for name in coefficient) / U
    assert metrics["loss"] == pytest.approx((batch.weight * total).mean().item(), rel=1e-5)
    assert metrics["log_sigma"] == pytest.approx(root.log_sigma.mean().item(), rel=1e-5)
    assert torch.allclose(error, (root.value - batch.value[:, 0]).abs(), atol=1e-4)


def test_the_step_is_adam_on_the_clipped_gradient(small):
    config = dataclasses.replace(
        CONFIG, optim=dataclasses.replace(CONFIG.optim, clip=0.5, l2=1e-2, lr=1e-3)
    )
    learner, batch = Learner(small.model(), config), small.batch()
    reference = small.model().train()
    adam = torch.optim.Adam(reference.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in range(3):
        learner.update(batch)
        reference.obs_norm.update(batch.observation[batch.step_mask])
        terms, _ = unrolled_losses(reference, batch, config.loss, config.search.discount)
        total = sum(getattr(config.loss, name) * term for name, term in terms.items()) / U
        adam.zero_grad()
        (batch.weight * total).mean().backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
        adam.step()
    ours, theirs = learner.model.state_dict(), reference.state_dict()
    for name in ours:
        assert torch.allclose(ours[name], theirs[name], atol=1e-5), name


def test_the_moving_average_starts_equal_and_moves_every_second_update(small):
    learner, batch = Learner(small.model(), CONFIG), small.batch()
    start = {k: v.clone() for k, v in learner.model.state_dict().items()}
    assert all(torch.equal(v, start[k]) for k, v in learner.average.state_dict().items())
    learner.update(batch)
    assert all(torch.equal(v, start[k]) for k, v in learner.average.state_dict().items())
    learner.update(batch)
    now = learner.model.state_dict()
    for name, value in learner.average.state_dict().items():
        assert torch.allclose(value, 0.5 * start[name] + 0.5 * now[name], atol=1e-6), name


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_with_rate_one_the_average_is_the_model_bit_for_bit_with_its_buffers(small, norm):
    config = dataclasses.replace(CONFIG, optim=dataclasses.replace(CONFIG.optim, ema=1.0))
    learner = Learner(small.model(norm), config)
    for seed in range(2):
        learner.update(small.batch(seed=seed))
    ours, theirs = learner.average.state_dict(), learner.model.state_dict()
    assert any("running_mean" in name for name in ours) == (norm == "batch")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_average_stays_in_eval_mode_and_takes_no_gradient(small):
    learner = Learner(small.model("batch"), CONFIG)
    learner.update(small.batch())
    assert learner.model.training
    assert not learner.average.training
    assert not any(p.requires_grad for p in learner.average.parameters())


def test_ten_gradients_in_a_row_that_are_not_finite_stop_before_the_weights_change(small):
    learner, batch = Learner(small.model(), CONFIG), small.batch()
    start = {k: v.clone() for k, v in learner.model.named_parameters()}
    broken = dataclasses.replace(batch, reward=torch.full_like(batch.reward, float("nan")))
    for _ in range(9):
        learner.update(broken)
    with pytest.raises(FloatingPointError, match=r"10 updates in a row .* from update 0 on"):
        learner.update(broken)
    assert all(torch.equal(v, start[k]) for k, v in learner.model.named_parameters())


def test_the_learning_rate_is_a_tenth_in_the_last_tenth(small):
    learner = Learner(small.model(), CONFIG)
    learner.updates = 90
    learner.update(small.batch())
    assert learner.optimizer.param_groups[0]["lr"] == CONFIG.optim.lr
    learner.update(small.batch())
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * CONFIG.optim.lr)


def test_repeated_updates_on_one_batch_bring_every_loss_down(small):
    loss = dataclasses.replace(CONFIG.loss, path_consistency=0.0)  # random values have no path
    optim = OptimConfig(lr=3e-3, l2=0.0)
    config = dataclasses.replace(CONFIG, updates=10**6, optim=optim, loss=loss)
    model = small.model(log_std_range=(-1.6, -1.6), latent=32, width=32, head_hidden=(32,))
    learner, batch = Learner(model, config), small.batch()
    first, _ = learner.update(batch)
    for _ in range(150):
        last, _ = learner.update(batch)
    for name in ("reward", "value", "policy", "consistency"):
        assert last[f"loss_{name}"] < first[f"loss_{name}"], name
    assert last["value_error"] < 0.1 * first["value_error"]


@pytest.mark.parametrize(("mode", "way"), [("as-released", -1.0), ("off", 0.0), ("bonus", 1.0)])
def test_the_entropy_term_alone_shrinks_sigma_as_released_and_widens_it_as_a_bonus(
    small, mode, way
):
    loss = LossConfig(reward=0.0, value=0.0, policy=0.0, consistency=0.0, path_consistency=0.0,
                      entropy_mode=mode)  # fmt: skip
    optim = OptimConfig(lr=1e-2, l2=0.0)
    config = dataclasses.replace(CONFIG, updates=10**6, loss=loss, optim=optim)
    learner, batch = Learner(small.model(), config), small.batch()
    learner.model.obs_norm.update = lambda _: None  # what moves is the policy head's doing
    observation, task = batch.observation[:, 0], batch.task

    @torch.no_grad()
    def log_sigma():
        model, e = learner.model, learner.model.embed(task)
        policy = model.policy(model.features(model.encode(observation, e), e), task)
        return policy.log_std[model.action_mask[task] == 1.0]

    before = log_sigma()
    for _ in range(10):
        learner.update(batch)
    moved = log_sigma() - before
    assert torch.all(moved == 0.0) if way == 0.0 else float((way * moved).min()) > 0.1


def test_ascent_teaches_the_policy_head_and_nothing_else(small):
    learner, batch = Learner(small.model(), CONFIG), small.batch()
    ascent(learner.model, learner.average, batch, 0.9).sum().backward()
    taught = {
        name.split(".")[0]
        for name, p in learner.model.named_parameters()
        if p.grad is not None and p.grad.abs().max() > 0.0
    }
    assert taught == {"policy_head"}


def test_ascent_raises_the_q_of_the_policys_own_action(small):
    loss = dataclasses.replace(CONFIG.loss, ascent=1.0, policy=0.0, reward=0.0, value=0.0,
                               consistency=0.0, path_consistency=0.0)  # fmt: skip
    optim = OptimConfig(lr=3e-3, l2=0.0, ema=0.0)  # the critic stays
    config = dataclasses.replace(CONFIG, updates=10**6, optim=optim, loss=loss)
    model = small.model(log_std_range=(-3.0, -3.0))
    torch.nn.init.normal_(model.value_head.last.weight, std=0.3)  # or Q is nearly flat
    learner, batch = Learner(model, config), small.batch()
    critic, task = learner.average, batch.task

    @torch.no_grad()
    def q():
        e = critic.embed(task)
        state = critic.encode(batch.observation[:, 0], e)
        policy = learner.model.policy(critic.features(state, e), task)
        action = torch.tanh(policy.mean) * critic.action_mask[task]
        following = critic.features(critic.next(state, e, action), e)
        value = critic.value(following, None, "mean")
        return critic.reward(state, e, action) + config.search.discount * value

    learner.model.obs_norm.update = lambda _: None  # what is learnt is the policy head alone
    before = q()
    for _ in range(100):
        learner.update(batch)
    assert float((q() - before).mean()) > 0.02 * float(before.abs().mean())
