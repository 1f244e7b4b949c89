"""The loss of an unroll: its arithmetic by a plain loop, and which gradient may go where."""

import dataclasses

import pytest
import torch

from training import losses
from training.config import LossConfig
from training.learner import unrolled_losses
from training.policy_head import log_prob


def test_every_loss_term_is_the_sum_over_steps_written_as_a_loop(small):
    model, batch, discount = small.model().eval(), small.batch(), 0.9
    config = LossConfig(entropy_mode="off", head_weight=0.5)
    with torch.no_grad():
        terms, said = unrolled_losses(model, batch, config, discount)
    model.requires_grad_(False)
    V, R = model.value_support, model.reward_support
    for b in range(len(batch.task)):
        task = batch.task[b : b + 1]
        e = model.embed(task)
        state = model.encode(batch.observation[b : b + 1, 0], e)
        sums = dict.fromkeys(terms, 0.0)
        for k in range(small.unroll + 1):
            features = model.features(state, e)
            logits = model.value_logits(features)[0]  # [H, bins]
            if k == 0:
                assert torch.allclose(said.value[b], V.decode(logits).mean(), atol=1e-4)
            if batch.step_mask[b, k]:
                z = V.encode(batch.value[b, k])
                sums["value"] += sum(0.5 * losses.cross_entropy(h, z) for h in logits) / 2
            policy = model.policy(features, task)
            if k == 0:
                assert torch.allclose(said.log_sigma[b], policy.log_std.mean(), atol=1e-5)
            if batch.policy_mask[b, k]:
                sums["policy"] -= log_prob(
                    policy, batch.policy[b : b + 1, k], model.action_mask[task]
                )[0]
            if k == small.unroll:
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
def test_the_gradient_through_each_latent_is_halved_and_compounds(small, step):
    model, batch = small.model().eval(), only(small.batch(), step)
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


def test_with_batch_norm_an_unroll_step_knows_nothing_of_the_steps_after_it(small):
    first = only(small.batch(), 1)
    action = torch.cat([first.action[:, :1], -first.action[:, 1:]], 1)
    later = dataclasses.replace(first, action=action)  # other latents from step 2 on
    ours, theirs = (
        unrolled_losses(small.model("batch").train(), batch, LossConfig(entropy_mode="off"), 0.9)[0]
        for batch in (first, later)
    )
    for name in ("value", "policy"):
        assert float(ours[name].detach().abs().min()) > 0.0
        torch.testing.assert_close(ours[name], theirs[name])


def test_batch_norm_counts_a_batch_for_every_unroll_step_and_learns_from_them_in_order(small):
    model, batch = small.model("batch").train(), small.batch()
    with torch.no_grad():
        unrolled_losses(model, batch, LossConfig(), 0.9)
        e, state = model.embed(batch.task), None
        layer, norm = model.value_head.layers[0], model.value_head.norms[0].batch
        mean, var = torch.zeros(norm.num_features), torch.ones(norm.num_features)
        for k in range(small.unroll + 1):
            state = (model.encode(batch.observation[:, 0], e) if k == 0 else
                     model.next(state, e, batch.action[:, k - 1]))  # fmt: skip
            inner = (model.features(state, e) @ layer.weight + layer.bias).transpose(0, 1)
            mean = 0.9 * mean + 0.1 * inner.flatten(1).mean(0)  # momentum 0.1, torch's default
            var = 0.9 * var + 0.1 * inner.flatten(1).var(0)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, var, rtol=1e-4, atol=1e-5)
    for head, steps in ((model.value_head, 4), (model.policy_head, 4), (model.reward_head, 3)):
        assert {int(norm.batch.num_batches_tracked) for norm in head.norms} == {steps}


def gradients(small, term, **changes):
    """Return {module name: largest gradient} of one loss term."""
    model, batch = small.model(**changes).eval(), small.batch()
    terms, _ = unrolled_losses(model, batch, LossConfig(entropy_mode="bonus"), 0.9)
    terms[term].sum().backward()
    return {
        name: max((float(p.grad.abs().max()) for p in part.parameters() if p.grad is not None),
                  default=0.0)
        for name, part in model.named_children()
        if list(part.parameters())
    }  # fmt: skip


def test_path_consistency_teaches_the_value_and_no_reward_and_no_policy(small):
    seen = gradients(small, "path_consistency")
    assert seen["value_head"] > 0.0
    assert seen["dynamics"] > 0.0  # through the latent s_k itself
    for name in ("reward_head", "reward_trunk", "action_embedding", "policy_head", "projector"):
        assert seen[name] == 0.0, name


def test_the_path_consistency_gradient_is_that_of_v_k_with_its_target_held_fixed(small):
    """Finite thought: the same cross-entropy with the target passed in as a constant."""
    model, batch, discount = small.model().eval(), only(small.batch(), 1), 0.9
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


@pytest.mark.parametrize("aim", ["mean", "min"])
def test_path_consistency_aims_at_the_mean_or_at_the_least_of_the_next_heads(small, aim):
    model, batch, discount = small.model().eval(), only(small.batch(), 1), 0.9
    with torch.no_grad():
        terms, _ = unrolled_losses(model, batch, LossConfig(path_target=aim), discount)
        e = model.embed(batch.task)
        reward = model.reward(model.encode(batch.observation[:, 0], e), e, batch.action[:, 0])
        heads = model.value_support.decode(plain_unroll(model, batch, 1))
        after = heads.mean(-1) if aim == "mean" else heads.amin(-1)
        path = model.value_support.encode(reward + discount * after)
        wanted = losses.ensemble_cross_entropy(plain_unroll(model, batch, 0), path, 0.5)
    assert float((heads.mean(-1) - heads.amin(-1)).min()) > 0.01  # or both aims are one
    torch.testing.assert_close(terms["path_consistency"], wanted, atol=1e-5, rtol=1e-5)


def test_temporal_consistency_does_not_train_the_encoder_through_its_target(small):
    """Only the root observation may move the encoder: zero the path from it and nothing is left."""
    model, batch = small.model().eval(), small.batch()
    observation = batch.observation.clone().requires_grad_(True)
    batch = dataclasses.replace(batch, observation=observation)
    terms, _ = unrolled_losses(model, batch, LossConfig(), 0.9)
    terms["consistency"].sum().backward()
    assert torch.all(observation.grad[:, 1:] == 0.0)
    assert torch.any(observation.grad[:, 0] != 0.0)
    assert model.value_head.last.weight.grad is None
    assert model.reward_head.last.weight.grad is None


def test_the_reward_loss_teaches_no_value_and_no_policy(small):
    seen = gradients(small, "reward")
    assert seen["reward_head"] > 0.0
    assert seen["value_head"] == seen["policy_head"] == seen["trunk"] == 0.0


def test_the_policy_loss_teaches_no_value_and_no_reward(small):
    seen = gradients(small, "policy")
    assert seen["policy_head"] > 0.0
    assert seen["value_head"] == seen["reward_head"] == 0.0


@pytest.mark.parametrize(("mode", "sign"), [("as-released", 1.0), ("bonus", -1.0)])
def test_the_released_entropy_term_pushes_every_log_sigma_down_by_a_coefficient_times_actions(
    small, mode, sign
):
    # d(term) / d log sigma_d = +A per position for the released sign (19 x 5e-3 = 0.095 in EZ-M)
    model, batch = small.model().eval(), small.batch()
    torch.nn.init.zeros_(model.policy_head.last.weight)
    torch.nn.init.zeros_(model.policy_head.last.bias)  # log sigma -4: tanh is the identity
    terms, _ = unrolled_losses(model, batch, LossConfig(entropy_mode=mode), 0.9)
    terms["entropy"].sum().backward()
    bias, A = model.policy_head.last.bias.grad[0, 0], small.actions
    positions = float(batch.step_mask[0::2].sum() + batch.step_mask[1::2].sum())
    # log sigma = -10 + 6 (tanh x + 1): slope 6 at x = 0
    assert float(bias[A]) == pytest.approx(sign * A * 6.0 * positions, rel=1e-3)
    masked = float(batch.step_mask[0::2].sum())  # the second task has only two of three actuators
    assert float(bias[2 * A - 1]) == pytest.approx(sign * A * 6.0 * masked, rel=1e-3)


def test_dead_positions_and_stale_policies_change_nothing(small):
    model, batch = small.model().eval(), small.batch()
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
