"""Time mctx's search with networks of ezm's sizes; `training/bench.py peer=<python>` calls it.

Runs in a virtual environment that has mctx and jax, imports nothing of ezm. One argument: JSON with
config, roots, rounds, observation, action. The last line of the output is JSON.
Weights are random and nothing is learnt: only sizes matter. Compiling is not counted.
"""

import json
import os
import sys
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import mctx
import numpy as np

rng = np.random.default_rng(0)


def linear(inputs, outputs):
    weight = rng.standard_normal((inputs, outputs), np.float32) / np.sqrt(inputs)
    return jnp.asarray(weight), jnp.zeros(outputs)


def apply(layer, x):
    return x @ layer[0] + layer[1]


def norm(x):
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5)


def block(dim, width):
    inner, outer = linear(dim, width), linear(width, dim)
    return lambda x: x + apply(outer, jax.nn.relu(apply(inner, norm(x))))


def chain(parts):
    def run(x):
        for part in parts:
            x = part(x)
        return x

    return run


def transition(state, rest, width, blocks):
    inner, outer = linear(state + rest, width), linear(width, state)
    after = chain([block(state, width) for _ in range(blocks)])
    return lambda s, r: after(
        s + apply(outer, jax.nn.relu(apply(inner, norm(jnp.concatenate([s, r], -1)))))
    )


def head(inputs, hidden, outputs):
    sizes = (inputs, *hidden)
    layers = [linear(i, o) for i, o in zip(sizes, hidden, strict=False)]
    last = linear(sizes[-1], outputs)

    def run(x):
        for layer in layers:
            x = jax.nn.relu(norm(apply(layer, x)))
        return apply(last, x)

    return run


def build(config, action):
    """Return step(state, action) and children(key, state), the parts of the model that search."""
    m, targets, proposals = config["model"], config["targets"], config["proposals"]
    d, e, w = m["latent"], m["task_embedding"], m["width"]
    dynamics = transition(d, e + action, w, m["blocks"])
    embed_action = linear(action + e, m["action_embedding"])
    reward_trunk = transition(d, e + m["action_embedding"], w, m["reward_blocks"])
    reward_head = head(d, m["head_hidden"], m["bins"])
    trunk = chain([block(d + e, d + e) for _ in range(m["blocks"])])
    used = 2 if targets["value_reduce"].startswith("min2") else m["value_heads"]
    heads = [head(d + e, m["head_hidden"], m["bins"]) for _ in range(used)]
    policy_head = head(d + e, m["policy_hidden"], 2 * action)
    task = jnp.zeros(e)
    atoms = jnp.linspace(0.0, 1.0, m["bins"])
    leaves, wide = config["search"]["leaf_actions"], proposals["wide_scale"]
    scale = jnp.where(jnp.arange(leaves) < leaves - leaves // 2, 1.0, wide)[:, None]

    def with_task(x):
        return jnp.concatenate([x, jnp.broadcast_to(task, (*x.shape[:-1], e))], -1)

    def decode(logits):
        return jax.nn.softmax(logits) @ atoms

    def step(state, chosen):
        following = dynamics(state, with_task(chosen))
        embedded = jnp.tanh(norm(apply(embed_action, with_task(chosen))))
        reward = decode(reward_head(reward_trunk(state, with_task(embedded))))
        features = norm(trunk(with_task(following)))
        values = jnp.stack([decode(one(features)) for one in heads])
        return following, reward, values.min(0), features

    def children(key, features):
        mean, x = jnp.split(policy_head(features), 2, -1)
        sigma = jnp.exp(-4.0 + 6.0 * jnp.tanh(x) * 0.0)
        noise = jax.random.normal(key, (features.shape[0], leaves, action))
        return jnp.tanh(mean[:, None] + scale * sigma[:, None] * noise)

    return step, children


def main() -> None:
    question = json.loads(sys.argv[1])
    config, roots, action = question["config"], question["roots"], question["action"]
    search, proposals = config["search"], config["proposals"]
    candidates = sum(proposals[kind] for kind in ("mean", "narrow", "wide", "gradient"))
    leaves = search["leaf_actions"]
    width = max(candidates, leaves)
    step, children = build(config, action)
    state = jnp.asarray(rng.standard_normal((roots, config["model"]["latent"]), np.float32))
    actions = jnp.tanh(jnp.asarray(rng.standard_normal((roots, width, action), np.float32)))
    legal = jnp.where(jnp.arange(width) < leaves, 0.0, -1e9)

    def recurrent(_, key, index, embedding):
        state, actions = embedding
        chosen = actions[jnp.arange(roots), index]
        following, reward, value, features = step(state, chosen)
        own = jnp.pad(children(key, features), ((0, 0), (0, width - leaves), (0, 0)))
        output = mctx.RecurrentFnOutput(
            reward=reward, discount=jnp.full(roots, search["discount"]), value=value,
            prior_logits=jnp.broadcast_to(legal, (roots, width)),
        )  # fmt: skip
        return output, (following, own)

    @jax.jit
    def run(key):
        root = mctx.RootFnOutput(
            prior_logits=jnp.zeros((roots, width)), value=jnp.zeros(roots),
            embedding=(state, actions),
        )  # fmt: skip
        output = mctx.gumbel_muzero_policy(
            None, key, root, recurrent, search["simulations"],
            max_num_considered_actions=candidates, gumbel_scale=0.0,
        )  # fmt: skip
        return output.action

    run(jax.random.PRNGKey(0)).block_until_ready()
    walls, cpus = [], []
    for number in range(question["rounds"]):
        began, used = time.perf_counter(), time.process_time()
        run(jax.random.PRNGKey(number)).block_until_ready()
        walls.append(roots / (time.perf_counter() - began))
        cpus.append(roots / max(time.process_time() - used, 1e-9))
    rates = {"per_s": float(np.median(walls)), "per_cpu_s": float(np.median(cpus))}
    print(json.dumps({**rates, "mctx": mctx.__version__, "jax": jax.__version__}))


if __name__ == "__main__":
    main()
