"""One gradient step: loss arithmetic by a plain loop, gradient rules, optimiser, moving average."""

import dataclasses

import pytest
import torch

from training import losses
from training.config import LossConfig, ModelConfig, OptimConfig, TargetConfig
from training.learner import Learner, unrolled_losses
from training.policy_head import log_prob
from training.presets import PRESETS
from training.reanalyse import TrainingBatch
from training.world_model import WorldModel

OBS, A, U = 5, 3, 3
CONFIG = dataclasses.replace(
    PRESETS["debug"],
    updates=100,
    targets=TargetConfig(unroll=U, reanalyse_positions=1),
    loss=LossConfig(entropy=0.0, entropy_mode="off"),
    optim=OptimConfig(ema=0.5, ema_every=2, l2=0.0),
)
MODEL = ModelConfig(latent=8, width=8, blocks=1, task_embedding=4, head_hidden=(8,), projector=8,
                    policy_hidden=(8,), value_heads=2, head_norm="layer", bins=21)  # fmt: skip


def build(norm="layer", **changes):
    torch.manual_seed(0)
    model = WorldModel(dataclasses.replace(MODEL, head_norm=norm, **changes), OBS, [A, 2])
    for head in (model.reward_head, model.policy_head):  # zero heads would hide mistakes
        torch.nn.init.normal_(head.last.weight, std=0.2)
    return model


def batch_of(rows=6, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return 2.0 * torch.rand(shape, generator=generator) - 1.0

    step_mask = torch.ones(rows, U + 1, dtype=torch.bool)
    step_mask[1, 2:] = False
    step_mask[2, 3:] = False
    policy_mask = step_mask.clone()
    policy_mask[1, 1] = policy_mask[2, 2] = policy_mask[3, 1] = False
    return TrainingBatch(
        task=torch.arange(rows) % 2,
        observation=rand(rows, U + 1, OBS),
        action=rand(rows, U, A),
        reward=rand(rows, U),
        value=10.0 * rand(rows, U + 1),
        policy=0.9 * rand(rows, U + 1, A),
        weight=torch.rand(rows, generator=generator) + 0.1,
        step_mask=step_mask,
        policy_mask=policy_mask,
    )


def test_every_loss_term_is_the_sum_over_steps_written_as_a_loop():
    model, batch, discount = build().eval(), batch_of(), 0.9
    config = LossConfig(entropy_mode="off", head_weight=0.5)
    with torch.no_grad():
        terms, root_value = unrolled_losses(model, batch, config, discount)
    model.requires_grad_(False)
    V, R = model.value_support, model.reward_support
    for b in range(len(batch.task)):
        task = batch.task[b : b + 1]
        e = model.embed(task)
        state = model.encode(batch.observation[b : b + 1, 0], e)
        sums = dict.fromkeys(terms, 0.0)
        for k in range(U + 1):
            features = model.features(state, e)
            logits = model.value_logits(features)[0]  # [H, bins]
            if k == 0:
                assert torch.allclose(root_value[b], V.decode(logits).mean(), atol=1e-4)
            if batch.step_mask[b, k]:
                z = V.encode(batch.value[b, k])
                sums["value"] += sum(0.5 * losses.cross_entropy(h, z) for h in logits) / 2
            if batch.policy_mask[b, k]:
                policy = model.policy(features, task)
                sums["policy"] -= log_prob(
                    policy, batch.policy[b : b + 1, k], model.action_mask[task]
                )[0]
            if k == U:
                break
            action = batch.action[b : b + 1, k]
            reward_logits = model.reward_logits(state, e, action)[0]
            following = model.next(state, e, action)
            if batch.step_mask[b, k + 1]:  # what is predicted at step k + 1 exists
                sums["reward"] += losses.cross_entropy(reward_logits, R.encode(batch.reward[b, k]))
                seen = model.projector(model.encode(batch.observation[b : b + 1, k + 1], e))
                guess = model.predictor(model.projector(following))
                sums["consistency"] -= torch.nn.functional.cosine_similarity(guess, seen)[0]
                after = V.decode(model.value_logits(model.features(following, e))[0]).mean()
                path = V.encode(R.decode(reward_logits) + discount * after)
                sums["path_consistency"] += (
                    sum(0.5 * losses.cross_entropy(h, path) for h in logits) / 2
                )
            state = following
        for name, expected in sums.items():
            wanted = pytest.approx(float(expected), abs=2e-4, rel=1e-5)
            assert terms[name][b].item() == wanted, name


def only(batch, step):
    """Return the batch with every mask but the root's and those of step `step` off."""
    mask = torch.zeros_like(batch.step_mask)
    mask[:, step] = True
    return dataclasses.replace(batch, step_mask=mask, policy_mask=mask)


def plain_unroll(model, batch, steps):
    e = model.embed(batch.task)
    state = model.encode(batch.observation[:, 0], e)
    for k in range(steps):
        state = model.next(state, e, batch.action[:, k])
    return model.value_logits(model.features(state, e))


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_the_gradient_through_each_latent_is_halved_and_compounds(step):
    model, batch = build().eval(), only(batch_of(), step)
    terms, _ = unrolled_losses(model, batch, LossConfig(), 0.9)
    terms["value"].sum().backward()
    weight = model.encoder[0][0].weight
    ours = weight.grad.clone()
    model.zero_grad()
    logits = plain_unroll(model, batch, step)
    target = model.value_support.encode(batch.value[:, step])
    losses.ensemble_cross_entropy(logits, target, 0.5).sum().backward()
    assert torch.allclose(ours, 0.5**step * weight.grad, atol=1e-6, rtol=1e-4)
    assert float(ours.abs().max()) > 0.0


def gradients(term, **changes):
    """Return {module name: largest gradient} of one loss term."""
    model, batch = build(**changes).eval(), batch_of()
    terms, _ = unrolled_losses(model, batch, LossConfig(entropy_mode="bonus"), 0.9)
    terms[term].sum().backward()
    return {
        name: max((float(p.grad.abs().max()) for p in part.parameters() if p.grad is not None),
                  default=0.0)
        for name, part in model.named_children()
        if list(part.parameters())
    }  # fmt: skip


def test_path_consistency_teaches_the_value_and_no_reward_and_no_policy():
    seen = gradients("path_consistency")
    assert seen["value_head"] > 0.0
    assert seen["dynamics"] > 0.0  # through the latent s_k itself
    for name in ("reward_head", "reward_trunk", "action_embedding", "policy_head", "projector"):
        assert seen[name] == 0.0, name


def test_the_path_consistency_gradient_is_that_of_v_k_with_its_target_held_fixed():
    """Finite thought: the same cross-entropy with the target passed in as a constant."""
    model, batch, discount = build().eval(), only(batch_of(), 1), 0.9
    terms, _ = unrolled_losses(model, batch, LossConfig(), discount)
    terms["path_consistency"].sum().backward()
    ours = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    with torch.no_grad():
        e = model.embed(batch.task)
        state = model.encode(batch.observation[:, 0], e)
        after = model.value_support.decode(plain_unroll(model, batch, 1)).mean(-1)
        path = model.reward(state, e, batch.action[:, 0]) + discount * after
    target = model.value_support.encode(path)
    losses.ensemble_cross_entropy(plain_unroll(model, batch, 0), target, 0.5).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(ours[name], parameter.grad, atol=1e-5), name
    # with step 1 alone the loss sits at V_0: the dynamics lie behind the detached target only
    dynamics = [g for n, g in ours.items() if n.startswith("dynamics")]
    assert all(torch.all(g == 0.0) for g in dynamics)


def test_temporal_consistency_does_not_train_the_encoder_through_its_target():
    """Only the root observation may move the encoder: zero the path from it and nothing is left."""
    model, batch = build().eval(), batch_of()
    observation = batch.observation.clone().requires_grad_(True)
    batch = dataclasses.replace(batch, observation=observation)
    terms, _ = unrolled_losses(model, batch, LossConfig(), 0.9)
    terms["consistency"].sum().backward()
    assert torch.all(observation.grad[:, 1:] == 0.0)
    assert torch.any(observation.grad[:, 0] != 0.0)
    assert model.value_head.last.weight.grad is None
    assert model.reward_head.last.weight.grad is None


def test_the_reward_loss_teaches_no_value_and_no_policy():
    seen = gradients("reward")
    assert seen["reward_head"] > 0.0
    assert seen["value_head"] == seen["policy_head"] == seen["trunk"] == 0.0


def test_the_policy_loss_teaches_no_value_and_no_reward():
    seen = gradients("policy")
    assert seen["policy_head"] > 0.0
    assert seen["value_head"] == seen["reward_head"] == 0.0


@pytest.mark.parametrize(("mode", "sign"), [("as-released", 1.0), ("bonus", -1.0)])
def test_the_released_entropy_term_pushes_every_log_sigma_down_by_a_coefficient_times_actions(
    mode, sign
):
    # d(term) / d log sigma_d = +A per position for the released sign (19 x 5e-3 = 0.095 in EZ-M)
    model, batch = build().eval(), batch_of()
    torch.nn.init.zeros_(model.policy_head.last.weight)
    torch.nn.init.zeros_(model.policy_head.last.bias)  # log sigma -4: tanh is the identity
    terms, _ = unrolled_losses(model, batch, LossConfig(entropy_mode=mode), 0.9)
    terms["entropy"].sum().backward()
    bias = model.policy_head.last.bias.grad[0, 0]
    positions = float(batch.step_mask[0::2].sum() + batch.step_mask[1::2].sum())
    # log sigma = -10 + 6 (tanh x + 1): slope 6 at x = 0
    assert float(bias[A]) == pytest.approx(sign * A * 6.0 * positions, rel=1e-3)
    masked = float(batch.step_mask[0::2].sum())  # the second task has only two of three actuators
    assert float(bias[2 * A - 1]) == pytest.approx(sign * A * 6.0 * masked, rel=1e-3)


def test_dead_positions_and_stale_policies_change_nothing():
    model, batch = build().eval(), batch_of()
    before, _ = unrolled_losses(model, batch, LossConfig(entropy_mode="off"), 0.9)
    noise = dataclasses.replace(
        batch,
        value=torch.where(batch.step_mask, batch.value, 77.0),
        policy=torch.where(batch.policy_mask.unsqueeze(-1), batch.policy, 0.123),
        reward=torch.where(batch.step_mask[:, 1:], batch.reward, 0.9),
        observation=torch.where(batch.step_mask.unsqueeze(-1), batch.observation, 5.0),
        action=torch.where(batch.step_mask[:, 1:, None], batch.action, -0.5),
    )
    after, _ = unrolled_losses(model, noise, LossConfig(entropy_mode="off"), 0.9)
    for name in before:
        assert torch.allclose(before[name], after[name], atol=1e-5), name


def test_the_normaliser_absorbs_every_living_frame_once_and_no_dead_one():
    batch = batch_of()
    dead = torch.where(batch.step_mask.unsqueeze(-1), batch.observation, 1e6)
    learner = Learner(build(), CONFIG)
    learner.update(dataclasses.replace(batch, observation=dead))
    frames = batch.observation[batch.step_mask]
    assert learner.model.obs_norm.count == 1000.0 + len(frames)
    assert torch.allclose(learner.model.obs_norm.mean, frames.sum(0) / (1000.0 + len(frames)))


def test_the_loss_is_the_weighted_mean_over_samples_divided_by_the_unroll():
    learner, batch = Learner(build(), CONFIG), batch_of()
    metrics, error = learner.update(batch)
    fresh = build().train()
    fresh.obs_norm.update(batch.observation[batch.step_mask])
    terms, root = unrolled_losses(fresh, batch, CONFIG.loss, CONFIG.search.discount)
    coefficient = {"reward": 1.0, "value": 0.5, "policy": 1.0, "consistency": 5.0,
                   "path_consistency": 0.5}  # fmt: skip
    total = sum(coefficient[name] * terms[name] for name in coefficient) / U
    assert metrics["loss"] == pytest.approx((batch.weight * total).mean().item(), rel=1e-5)
    assert torch.allclose(error, (root - batch.value[:, 0]).abs(), atol=1e-4)


def test_the_step_is_adam_on_the_clipped_gradient():
    config = dataclasses.replace(
        CONFIG, optim=dataclasses.replace(CONFIG.optim, clip=0.5, l2=1e-2, lr=1e-3)
    )
    learner, batch = Learner(build(), config), batch_of()
    reference = build().train()
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


def test_the_moving_average_starts_equal_and_moves_every_second_update():
    learner, batch = Learner(build(), CONFIG), batch_of()
    start = {k: v.clone() for k, v in learner.model.state_dict().items()}
    assert all(torch.equal(v, start[k]) for k, v in learner.average.state_dict().items())
    learner.update(batch)
    assert all(torch.equal(v, start[k]) for k, v in learner.average.state_dict().items())
    learner.update(batch)
    now = learner.model.state_dict()
    for name, value in learner.average.state_dict().items():
        assert torch.allclose(value, 0.5 * start[name] + 0.5 * now[name], atol=1e-6), name


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_with_rate_one_the_average_is_the_model_bit_for_bit_with_its_buffers(norm):
    config = dataclasses.replace(CONFIG, optim=dataclasses.replace(CONFIG.optim, ema=1.0))
    learner = Learner(build(norm), config)
    for seed in range(2):
        learner.update(batch_of(seed=seed))
    ours, theirs = learner.average.state_dict(), learner.model.state_dict()
    assert any("running_mean" in name for name in ours) == (norm == "batch")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_average_stays_in_eval_mode_and_takes_no_gradient():
    learner = Learner(build("batch"), CONFIG)
    learner.update(batch_of())
    assert learner.model.training
    assert not learner.average.training
    assert not any(p.requires_grad for p in learner.average.parameters())


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change():
    learner, batch = Learner(build(), CONFIG), batch_of()
    start = {k: v.clone() for k, v in learner.model.named_parameters()}
    broken = dataclasses.replace(batch, reward=torch.full_like(batch.reward, float("nan")))
    with pytest.raises(FloatingPointError, match="update 0"):
        learner.update(broken)
    assert all(torch.equal(v, start[k]) for k, v in learner.model.named_parameters())


def test_the_learning_rate_is_a_tenth_in_the_last_tenth():
    learner = Learner(build(), CONFIG)
    learner.updates = 90
    learner.update(batch_of())
    assert learner.optimizer.param_groups[0]["lr"] == CONFIG.optim.lr
    learner.update(batch_of())
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * CONFIG.optim.lr)


def test_repeated_updates_on_one_batch_bring_every_loss_down():
    loss = dataclasses.replace(CONFIG.loss, path_consistency=0.0)  # random values have no path
    optim = OptimConfig(lr=3e-3, l2=0.0)
    config = dataclasses.replace(CONFIG, updates=10**6, optim=optim, loss=loss)
    model = build(log_std_range=(-1.6, -1.6), latent=32, width=32, head_hidden=(32,))
    learner, batch = Learner(model, config), batch_of()
    first, _ = learner.update(batch)
    for _ in range(150):
        last, _ = learner.update(batch)
    for name in ("reward", "value", "policy", "consistency"):
        assert last[f"loss_{name}"] < first[f"loss_{name}"], name
    assert last["value_error"] < 0.1 * first["value_error"]
