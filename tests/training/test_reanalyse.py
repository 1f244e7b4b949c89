"""From replay windows to training targets, on batches written by hand."""

import dataclasses

import numpy as np
import pytest
import torch

from training import reanalyse as module
from training.config import ModelConfig, ProposalConfig, TargetConfig
from training.mcts import SearchConfig, SearchResult
from training.planner import PlannerConfig
from training.reanalyse import reanalyse, search_rows
from training.replay import Batch
from training.world_model import WorldModel

OBS, A, U, N = 3, 2, 2, 3
W = U + N
DISCOUNT = 0.9
PLANNER = PlannerConfig(
    SearchConfig(simulations=4, discount=DISCOUNT), ProposalConfig(narrow=2, wide=2), "mean"
)


def targets(**changes):
    base = {"unroll": U, "td_steps": N, "reanalyse_positions": 1, "value_reduce": "mean",
            "search_value_after": 10**9, "policy_staleness": 100}  # fmt: skip
    return TargetConfig(**{**base, **changes})


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = ModelConfig(latent=8, width=8, blocks=1, task_embedding=4, head_hidden=(8,),
                         policy_hidden=(8,), projector=8, value_heads=2)  # fmt: skip
    return WorldModel(config, OBS, [A, A]).eval().requires_grad_(False)


def windows(final, terminal, stored_at=None, newest=None):
    """Return a batch whose rows end at `final` (W: they go on)."""
    rows = len(final)
    rng = np.random.default_rng(0)
    final = np.array(final)
    alive = np.arange(W + 1) <= final[:, None]
    reward = rng.uniform(0, 1, (rows, W + 1)).astype(np.float32)
    reward[np.arange(W + 1) == final[:, None]] = 0.0
    at = np.full((rows, W + 1), -1) if stored_at is None else np.array(stored_at)
    return Batch(
        task=np.arange(rows) % 2,
        observation=rng.normal(size=(rows, W + 1, OBS)).astype(np.float32),
        action=rng.uniform(-1, 1, (rows, W + 1, A)).astype(np.float32),
        reward=reward,
        alive=alive,
        final=final,
        terminal=np.array(terminal),
        weight=np.ones(rows, np.float32),
        stored_action=rng.uniform(-1, 1, (rows, W + 1, A)).astype(np.float32),
        stored_at=at,
        stored_value=rng.uniform(5, 6, (rows, W + 1)).astype(np.float32),
        valued_at=np.full((rows, W + 1), -1),
        demo=np.zeros(rows, bool),
        flipped=np.zeros(rows, bool),
        own=np.ones(rows, bool),
        newest=np.zeros(rows, int) if newest is None else np.array(newest),
        place=(np.arange(rows) % 2, np.arange(rows), np.arange(rows)),
    )


def network_value(model, observation, task):
    e = model.embed(torch.tensor([task]))
    state = model.encode(torch.from_numpy(observation)[None], e)
    return float(model.value(model.features(state, e), None, "mean"))


CASES = [(W, False), (W, True), (4, True), (4, False), (1, True), (1, False), (2, True), (2, False)]


def test_value_targets_walk_to_the_end_of_the_episode_and_bootstrap_unless_it_is_terminal(model):
    batch = windows([f for f, _ in CASES], [t for _, t in CASES])
    out, _ = reanalyse(model, batch, targets(), PLANNER, 0)
    for b, (final, terminal) in enumerate(CASES):
        for k in range(min(U, final) + 1):
            z, frame = 0.0, k
            while frame < k + N and frame < final:
                z += DISCOUNT ** (frame - k) * batch.reward[b, frame]
                frame += 1
            if not (frame == final and terminal):
                tail = network_value(model, batch.observation[b, frame], batch.task[b])
                z += DISCOUNT ** (frame - k) * tail
            assert float(out.value[b, k]) == pytest.approx(z, abs=1e-4), (final, terminal, k)


def test_a_terminal_frame_itself_is_worth_nothing(model):
    batch = windows([1, 2], [True, True])
    out, _ = reanalyse(model, batch, targets(), PLANNER, 0)
    assert out.value[0, 1] == 0.0
    assert out.value[1, 2] == 0.0


def test_masks_say_which_positions_exist_and_which_have_an_action(model):
    batch = windows([W, 2, 1], [False, True, False])
    out, _ = reanalyse(model, batch, targets(reanalyse_positions=U + 1), PLANNER, 0)
    assert out.step_mask.tolist() == [[True, True, True], [True, True, True], [True, True, False]]
    assert out.policy_mask.tolist() == [
        [True, True, True],
        [True, True, False],  # the final frame has no action to imitate
        [True, False, False],
    ]


def test_rewards_and_actions_are_those_taken_at_the_same_frame(model):
    batch = windows([W], [False])
    out, _ = reanalyse(model, batch, targets(), PLANNER, 0)
    assert torch.equal(out.action, torch.from_numpy(batch.action[:, :U]))
    assert torch.equal(out.reward, torch.from_numpy(batch.reward[:, :U]))
    assert torch.equal(out.observation, torch.from_numpy(batch.observation[:, : U + 1]))


def test_policy_targets_are_fresh_where_searched_and_stored_elsewhere_while_not_stale(model):
    #           age of the stored results at update 150: never, 100 (usable), 101 (stale)
    batch = windows([W], [False], stored_at=[[-1, 50, 49, -1, -1, -1]])
    out, fresh = reanalyse(model, batch, targets(policy_staleness=100), PLANNER, 150)
    assert torch.equal(out.policy[0, 0], fresh.action[0, 0])
    assert torch.equal(out.policy[0, 1], torch.from_numpy(batch.stored_action[0, 1]))
    assert out.policy_mask.tolist() == [[True, True, False]]


def test_without_staleness_nothing_stored_is_imitated(model):
    batch = windows([W], [False], stored_at=[[-1, -1, -1, -1, -1, -1]])
    out, _ = reanalyse(model, batch, targets(policy_staleness=0), PLANNER, 3)
    assert out.policy_mask.tolist() == [[True, False, False]]


def test_the_share_searched_is_that_with_the_oldest_results(model):
    at = np.full((6, W + 1), -1)
    at[:, 0] = [30, 10, 40, 20, 60, 50]
    fresh = search_rows(
        model, windows([W] * 6, [False] * 6, at), targets(reanalyse_share=0.5), PLANNER, None
    )
    assert fresh.rows.tolist() == [0, 1, 3]


def test_of_equally_old_results_every_task_gets_its_share(model):
    batch = windows([W] * 400, [False] * 400)
    batch = Batch(**{**vars(batch), "task": np.repeat([0, 1], 200)})  # as Replay.sample orders them
    generator = torch.Generator().manual_seed(0)
    fresh = search_rows(model, batch, targets(reanalyse_share=0.5), PLANNER, generator)
    assert len(fresh.rows) == 200
    assert 70 <= np.count_nonzero(batch.task[fresh.rows] == 1) <= 130


def fake_plan(model, observation, task, config, generator):
    """Answer with the first two numbers of each observation, so that rows can be told apart."""
    rows = len(observation)
    zero = torch.zeros(rows, 4)
    actions = observation[:, None, :A].expand(-1, 4, -1)
    return SearchResult(observation[:, :A], 10.0 * observation[:, 0], actions, zero, zero, zero,
                        torch.zeros(rows, dtype=torch.long))  # fmt: skip


@pytest.mark.parametrize("positions", [1, 2, U + 1])
def test_search_results_land_at_the_row_and_position_they_were_made_for(
    model, monkeypatch, positions
):
    monkeypatch.setattr(module, "plan", fake_plan)
    at = np.full((6, W + 1), -1)
    at[:, 0] = [5, 1, 9, 2, 3, 8]
    batch = windows([W] * 6, [False] * 6, at, newest=[999] * 6)
    config = targets(reanalyse_share=0.5, reanalyse_positions=positions, search_value_after=0,
                     search_value_newest=10, policy_staleness=0)  # fmt: skip
    out, fresh = reanalyse(model, batch, config, PLANNER, 10)
    assert fresh.rows.tolist() == [1, 3, 4]
    td, _ = reanalyse(model, batch, targets(reanalyse_share=0.5), PLANNER, 10)
    for b in range(6):
        for k in range(U + 1):
            searched = b in (1, 3, 4) and k < positions
            seen = torch.from_numpy(batch.observation[b, k])
            assert bool(out.policy_mask[b, k]) == searched
            if searched:
                assert torch.equal(out.policy[b, k], seen[:A])
                assert float(out.value[b, k]) == pytest.approx(10.0 * float(seen[0]), rel=1e-5)
            else:
                assert out.value[b, k] == td.value[b, k]


@pytest.mark.parametrize("positions", [1, U + 1])
def test_stored_values_count_where_nothing_was_searched_while_they_are_not_stale(
    model, monkeypatch, positions
):
    monkeypatch.setattr(module, "plan", fake_plan)
    batch = windows([W, W, W, 1], [False, False, False, True], newest=[999, 999, 0, 999])
    batch.stored_at[0, 0] = 7  # the row with the youngest result is the one not searched
    batch.valued_at[:] = [[50, 49, -1, -1, -1, -1]] + [[50] * (W + 1)] * 3
    config = targets(reanalyse_share=0.75, reanalyse_positions=positions, search_value_after=0,
                     search_value_newest=10, policy_staleness=100)  # fmt: skip
    out, fresh = reanalyse(model, batch, config, PLANNER, 150)
    td, _ = reanalyse(model, batch, targets(), PLANNER, 150)
    assert fresh.rows.tolist() == [1, 2, 3]
    stored = torch.from_numpy(batch.stored_value)
    assert out.value[0, 0] == stored[0, 0]  # 100 updates old
    assert torch.equal(out.value[0, 1:], td.value[0, 1:])  # 101 updates old, and never made
    assert torch.allclose(out.value[1, :positions], 10.0 * torch.from_numpy(
        batch.observation[1, :positions, 0]))  # fmt: skip
    assert torch.equal(out.value[1, positions:], stored[1, positions : U + 1])
    assert torch.equal(out.value[2], td.value[2])  # among the newest
    assert out.value[3, 1] == 0.0  # a final frame has no action to search


def test_without_staleness_no_stored_value_counts(model):
    batch = windows([W], [False], newest=[999])
    batch.valued_at[:] = 9
    config = targets(reanalyse_every=2, search_value_after=0, search_value_newest=0)
    for staleness, counts in ((0, False), (2, True)):
        own = dataclasses.replace(config, policy_staleness=staleness)
        out, _ = reanalyse(model, batch, own, PLANNER, 11)
        stored = torch.from_numpy(batch.stored_value[:, : U + 1])
        assert bool((out.value == stored).all()) == counts


@pytest.mark.parametrize("every", [1, 3])
def test_every_so_many_batches_one_is_searched_by_the_number_of_the_update(
    model, monkeypatch, every
):
    monkeypatch.setattr(module, "plan", fake_plan)
    batch = windows([W] * 4, [False] * 4, newest=[999] * 4)
    batch.stored_at[2, :2] = 5
    config = targets(reanalyse_every=every, search_value_after=0, search_value_newest=10)
    for updates in range(6, 13):
        out, fresh = reanalyse(model, batch, config, PLANNER, updates)
        if updates % every == 0:
            assert fresh.rows.tolist() == [0, 1, 2, 3]
            assert torch.equal(out.policy[:, 0], torch.from_numpy(batch.observation[:, 0, :A]))
            continue
        assert (len(fresh.rows), fresh.facts["searches"]) == (0, 0.0)
        td, _ = reanalyse(model, batch, targets(), PLANNER, updates)
        assert torch.equal(out.value, td.value)
        kept = torch.from_numpy(batch.stored_at[:, : U + 1] == 5)
        assert torch.equal(out.policy_mask > 0, kept)
        assert torch.equal(
            out.policy[kept], torch.from_numpy(batch.stored_action)[:, : U + 1][kept]
        )


def test_final_frames_keep_their_td_target_when_search_values_are_used(model, monkeypatch):
    monkeypatch.setattr(module, "plan", fake_plan)
    batch = windows([1], [True], newest=[999])
    config = targets(reanalyse_positions=U + 1, search_value_after=0, search_value_newest=10)
    out, _ = reanalyse(model, batch, config, PLANNER, 10)
    assert float(out.value[0, 0]) == pytest.approx(
        10.0 * float(batch.observation[0, 0, 0]), rel=1e-5
    )
    assert out.value[0, 1] == 0.0


def test_the_newest_transitions_keep_the_td_target_after_the_threshold(model, monkeypatch):
    monkeypatch.setattr(module, "plan", fake_plan)
    batch = windows([W, W], [False, False], newest=[9, 10])
    config = targets(reanalyse_positions=U + 1, search_value_after=5, search_value_newest=10)
    out, _ = reanalyse(model, batch, config, PLANNER, 5)
    td, _ = reanalyse(model, batch, config, PLANNER, 4)
    assert torch.equal(out.value[0], td.value[0])
    assert torch.allclose(out.value[1], 10.0 * torch.from_numpy(batch.observation[1, : U + 1, 0]))


def test_the_weighted_policy_target_is_the_softmax_mean_of_the_candidates(model):
    batch = windows([W] * 3, [False] * 3)
    best = search_rows(model, batch, targets(), PLANNER, torch.Generator().manual_seed(1))
    mean = search_rows(
        model, batch, targets(policy_target="weighted"), PLANNER, torch.Generator().manual_seed(1)
    )
    assert not torch.allclose(best.action, mean.action)
    assert float(mean.action.abs().max()) <= 1.0


def test_where_another_tasks_policy_acted_the_return_takes_one_step(model):
    batch = windows([W, W, 1], [False, False, True])
    batch = Batch(**{**vars(batch), "own": np.array([False, True, False])})
    out, _ = reanalyse(model, batch, targets(), PLANNER, 0)
    value = network_value(model, batch.observation[0, 1], 0)
    discount = PLANNER.search.discount
    assert float(out.value[0, 0]) == pytest.approx(batch.reward[0, 0] + discount * value, rel=1e-4)
    assert float(out.value[2, 0]) == pytest.approx(batch.reward[2, 0], rel=1e-5)
    longer, _ = reanalyse(model, windows([W, W, 1], [False, False, True]), targets(), PLANNER, 0)
    assert torch.equal(out.value[1], longer.value[1])
    assert not torch.equal(out.value[0], longer.value[0])


def test_an_imagined_value_looks_at_no_recorded_reward(model):
    batch = windows([W, W, 4, 1], [False, False, True, True])
    other = Batch(**{**vars(batch), "reward": batch.reward + 1.0})
    settings = targets(lookahead=2, imagined_share=1.0)
    values = [
        reanalyse(model, each, settings, PLANNER, 0, torch.Generator().manual_seed(0))[0].value
        for each in (batch, other)
    ]
    assert torch.equal(*values)
    assert values[0].abs().sum() > 0.0
    assert float(values[0][3, 1]) == 0.0  # the terminal frame itself


def test_a_share_of_the_samples_is_imagined_and_the_rest_is_as_it_was(model):
    batch = windows([W] * 200, [False] * 200)
    plain, _ = reanalyse(model, batch, targets(), PLANNER, 0)
    mixed, _ = reanalyse(model, batch, targets(imagined_share=0.3), PLANNER, 0)
    same = (plain.value == mixed.value).all(1).float().mean()
    assert float(same) == pytest.approx(0.7, abs=0.13)  # 4 sigma
