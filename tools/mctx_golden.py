"""Grow the golden trees of tests/golden/mctx_trees.npz with mctx, DeepMind's search in JAX.

    pip install mctx==0.0.71 jax==0.10.2                      # in a virtual environment of its own
    python tools/mctx_golden.py tests/golden/mctx_trees.npz

A small made-up model, fixed candidates and fixed noise; nothing of ezm is imported. Two kinds:

stock     mctx.gumbel_muzero_policy as it comes, its Gumbel noise off and its priors uniform.
released  the rules of EZ-M's release, as functions that mctx's search calls: the running min-max
          of the whole tree is recomputed from the raw values of all nodes, not carried along.
"""

import functools
import math
import sys

import jax
import jax.numpy as jnp
import mctx
import numpy as np

jax.config.update("jax_enable_x64", True)
ROOTS, STATE, ACTION, DISCOUNT = 24, 4, 3, 0.9
# kind, simulations N, root candidates K, children of every other node L
CASES = (
    ("released", 32, 16, 2), ("released", 16, 8, 2), ("released", 8, 8, 2),
    ("released", 12, 1, 3), ("released", 20, 6, 2),
    ("stock", 16, 8, 8), ("stock", 32, 4, 4), ("stock", 24, 2, 2), ("stock", 9, 1, 1),
)  # fmt: skip


def make_world(rng):
    """Return the weights of the model and what the searches start from."""
    normal = rng.standard_normal
    return {
        "transition": normal((STATE, STATE)) * 0.6,
        "push": normal((ACTION, STATE)) * 0.6,
        "reward_state": normal(STATE), "reward_action": normal(ACTION),
        "value": normal(STATE), "proposal": normal((STATE, ACTION)),
        "state": normal((ROOTS, STATE)),
        "candidates": np.tanh(normal((ROOTS, 16, ACTION))),
        "noise": normal((ROOTS, 16, ACTION)),
    }  # fmt: skip


def value(world, state):
    return 2.0 + jnp.tanh(state @ world["value"])


def step(world, state, action):
    following = jnp.tanh(state @ world["transition"] + action @ world["push"])
    reward = 1.0 + jnp.sin(state @ world["reward_state"] + 2.0 * action @ world["reward_action"])
    return following, reward, value(world, following)


def grow(world, kind, simulations, candidates, leaves):
    """Return mctx's policy output and tree for one case."""
    width = max(candidates, leaves)
    first = world["candidates"][:, :candidates]
    padding = jnp.zeros((ROOTS, width - candidates, ACTION))
    embedding = {
        "state": world["state"], "actions": jnp.concatenate([first, padding], 1),
        "noise": world["noise"],
    }  # fmt: skip
    root = mctx.RootFnOutput(
        prior_logits=jnp.zeros((ROOTS, width)), value=value(world, world["state"]),
        embedding=embedding,
    )  # fmt: skip
    invalid = jnp.broadcast_to(jnp.arange(width) >= candidates, (ROOTS, width)).astype(jnp.int32)

    def recurrent(_, key, action, embedding):
        chosen = embedding["actions"][jnp.arange(ROOTS), action]
        state, reward, worth = step(world, embedding["state"], chosen)
        mean = (state @ world["proposal"])[:, None]
        own = jnp.tanh(mean + 0.5 * embedding["noise"][:, :leaves])
        actions = jnp.pad(own, ((0, 0), (0, width - leaves), (0, 0)))
        logits = jnp.where(jnp.arange(width) < leaves, 0.0, -1e9)
        output = mctx.RecurrentFnOutput(
            reward=reward, discount=jnp.full(ROOTS, DISCOUNT),
            prior_logits=jnp.broadcast_to(logits, (ROOTS, width)), value=worth,
        )  # fmt: skip
        return output, {**embedding, "state": state, "actions": actions}

    key = jax.random.PRNGKey(0)
    if kind == "stock":
        output = mctx.gumbel_muzero_policy(
            None, key, root, recurrent, simulations, invalid_actions=invalid,
            max_num_considered_actions=candidates, gumbel_scale=0.0,
        )  # fmt: skip
        return output.action, output.search_tree
    tree = mctx.search(
        None, key, root=root, recurrent_fn=recurrent, num_simulations=simulations,
        root_action_selection_fn=functools.partial(
            released_root, schedule=schedule(simulations, candidates)
        ),
        interior_action_selection_fn=released_interior, invalid_actions=invalid,
    )  # fmt: skip
    scores = jax.vmap(released_scores, (0, None))(tree, 0)
    most = tree.children_visits[:, 0] == tree.children_visits[:, 0].max(-1, keepdims=True)
    return jnp.where(most, scores, -jnp.inf).argmax(-1), tree


def schedule(simulations, candidates):
    """Return, per simulation, the visits a candidate must have and whether its phase is new.

    Sequential halving: the survivors of a phase are those with the most visits.
    """
    phases, rounds, spent, width = max(1, math.ceil(math.log2(candidates))), [], 0, candidates
    visits = 0
    for phase in range(phases):
        budget = max(1, simulations // (phases * width)) * width
        left = simulations - spent if phase == phases - 1 else min(budget, simulations - spent)
        spent += left
        new = True
        while left > 0:
            now = min(width, left)
            rounds += [(visits, new)] * now
            left, visits, new = left - now, visits + 1, False
        width = max(width // 2, 1)
    return jnp.array(rounds)


def released_root(key, tree, node, *, schedule):
    """Among the survivors the best score in a new phase, the longest unvisited later on."""
    visits = tree.children_visits[node]
    wanted, new = schedule[visits.sum()]
    owner = jax.lax.fori_loop(  # the root candidate above every node
        0, tree.num_simulations,
        lambda _, at: jnp.where(tree.parents[at] > 0, tree.parents[at], at),
        jnp.arange(len(tree.parents)),
    )  # fmt: skip
    above = tree.action_from_parent[owner]
    exists = (jnp.arange(len(owner)) > 0) & (tree.node_visits > 0)
    last = jnp.where(
        exists[:, None] & (above[:, None] == jnp.arange(tree.num_actions)),
        jnp.arange(len(owner))[:, None], 0,
    ).max(0)  # fmt: skip
    merit = jnp.where(new == 1, released_scores(tree, node), -last.astype(float))
    merit = jnp.where((visits == wanted) & (tree.root_invalid_actions == 0), merit, -jnp.inf)
    return merit.argmax().astype(jnp.int32)


def released_interior(key, tree, node, depth):
    """Return argmax of pi' - n_a / (1 + n), n with the node's own visit (spec, section 4.3)."""
    logits = tree.children_prior_logits[node] + released_scores(tree, node)
    policy = jax.nn.softmax(logits)
    merit = policy - tree.children_visits[node] / (1 + tree.node_visits[node])
    return (
        jnp.where(tree.children_prior_logits[node] > -1e8, merit, -jnp.inf)
        .argmax()
        .astype(jnp.int32)
    )


def released_scores(tree, node):
    """Return (c_visit + max n) c_scale q-hat, q-hat by the min-max of all returns backed up."""
    low, high = min_max(tree)
    visits, q = tree.children_visits[node], tree.qvalues(node)
    seen, own, own_n = visits > 0, tree.node_values[node], tree.node_visits[node]
    mean_q = jnp.where(seen, q, 0.0).sum() / jnp.maximum(seen.sum(), 1)
    mixed = jnp.where(seen.any(), (own + own_n * mean_q) / (1 + own_n), own)
    q = jnp.where(seen, q, mixed)
    spread = high - low
    scaled = jnp.where(spread > 0, (q - low) / jnp.maximum(spread, 0.01), q)
    return (50.0 + visits.max()) * 0.1 * jnp.clip(scaled, 0.0, 1.0)


def min_max(tree):
    """Return least and greatest of reward + discount x return over all nodes and paths."""
    nodes = jnp.arange(len(tree.parents))
    exists = (tree.node_visits > 0) & (nodes > 0)

    def up(_, state):
        at, ret, low, high = state
        inside = exists & (at > 0)
        edge = tree.children_rewards[tree.parents[at], tree.action_from_parent[at]]
        q = edge + DISCOUNT * ret
        low = jnp.minimum(low, jnp.where(inside, q, jnp.inf).min())
        high = jnp.maximum(high, jnp.where(inside, q, -jnp.inf).max())
        return jnp.where(inside, tree.parents[at], at), jnp.where(inside, q, ret), low, high

    start = (nodes, tree.raw_values, jnp.inf, -jnp.inf)
    _, _, low, high = jax.lax.fori_loop(0, tree.num_simulations, up, start)
    return low, high


def main() -> None:
    drawn = make_world(np.random.default_rng(20))
    world = {k: v.astype(np.float32).astype(float) for k, v in drawn.items()}  # as they are saved
    arrays = dict(world)
    for kind, simulations, candidates, leaves in CASES:
        best, tree = grow(world, kind, simulations, candidates, leaves)
        name = f"{kind}/{simulations}/{candidates}/{leaves}"
        root = jnp.zeros(ROOTS, jnp.int32)
        arrays |= {
            f"{name}/best": np.asarray(best, np.int8),
            f"{name}/visits": np.asarray(tree.children_visits[:, 0, :candidates], np.int8),
            f"{name}/q": np.asarray(tree.qvalues(root)[:, :candidates]),
            f"{name}/value": np.asarray(tree.node_values[:, 0]),
            f"{name}/parents": np.asarray(tree.parents, np.int8),
            f"{name}/node_visits": np.asarray(tree.node_visits, np.int8),
            f"{name}/node_values": np.asarray(tree.node_values),
        }
        print(name, "best of the first roots:", arrays[f"{name}/best"][:6])
    arrays = {k: v.astype(np.float32) if v.dtype == float else v for k, v in arrays.items()}
    np.savez_compressed(sys.argv[1], **arrays)


if __name__ == "__main__":
    main()
