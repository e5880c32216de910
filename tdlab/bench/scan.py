"""The in-context run in JAX: ``jit(vmap(scan))`` of the same step, with its fastest generator.

Only imported where JAX is installed (the extra ``bench``).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

_SIZES = (1, 4, 8, 16)
_GENERATORS = ("threefry2x32", "rbg", "unsafe_rbg")


def candidates(steps: int) -> dict[tuple[int, str], Callable[[], Any]]:
    """A training of so many steps for each size of ensemble and each generator, compiled."""
    train = jax.jit(jax.vmap(lambda key: _train(key, steps)))

    def finished(keys: Any) -> Any:
        return jax.block_until_ready(train(keys))

    made: dict[tuple[int, str], Callable[[], Any]] = {}
    for generator in _GENERATORS:
        for size in _SIZES:
            keys = jax.random.split(jax.random.key(0, impl=generator), size)
            finished(keys)
            made[size, generator] = partial(finished, keys)
    return made


def _train(key: Any, steps: int) -> Any:
    params, world = _start(key)

    def step(params: Any, number: Any) -> tuple[Any, Any]:
        prompt, target = _draw(jax.random.fold_in(key, number), world)
        loss, grads = jax.value_and_grad(_loss)(params, world, prompt, target)
        return jax.tree.map(lambda leaf, g: leaf - 0.1 * g, params, grads), loss

    return jax.lax.scan(step, params, jnp.arange(steps))


def _start(key: Any) -> tuple[Any, Any]:
    keys = jax.random.split(key, 4)
    patterns = 3 * jnp.linalg.qr(jax.random.normal(keys[0], (30, 30)))[0]
    q = jax.random.normal(keys[1], (30,))
    whole = 0.2 * jnp.eye(60)
    blind = whole.at[:, 30:].set(0)
    W_O = 0.02 * jax.random.normal(keys[2], (64, 60))
    a = jnp.where(jax.random.uniform(keys[3], (64,)) < 0.5, 0.125, -0.125)
    world = (patterns[:6], patterns[6:], q / jnp.linalg.norm(q), a)
    return {"W_Q": blind, "W_K": blind, "W_V": whole, "W_O": W_O}, world


def _draw(key: Any, world: Any) -> tuple[Any, Any]:
    relevant, irrelevant, q, _ = world
    u, noise = jnp.split(jax.random.uniform(key, (100, 42)), 2, axis=1)
    which = jnp.floor(u[:, -1] * 12).astype(int)
    first, positive = (which // 2)[:, None], which % 2 == 0
    second = (first + 1) % 6
    u = u[:, :-1]
    cell = jnp.floor(jnp.clip((u - 0.8) / 0.2, 0, 1 - 2**-23) * 8).astype(int)
    other = cell // 2
    other = other + (other >= jnp.minimum(first, second))
    other = other + (other >= jnp.maximum(first, second))
    example = jnp.where(u < 0.4, first, jnp.where(u < 0.8, second, other))
    label = jnp.where(jnp.where(u < 0.8, u < 0.4, cell % 2 == 0), 1.0, -1.0)
    query = jnp.where(positive[:, None], first, second)
    pattern = jnp.concatenate([example, query], axis=1)
    scaled = 24 * noise
    k = jnp.floor(scaled).astype(int)
    x = relevant[pattern] + (scaled - k - 0.5)[..., None] * irrelevant[k]
    y = jnp.pad(label, ((0, 0), (0, 1)))[..., None] * q
    return jnp.concatenate([x, y], axis=-1), jnp.where(positive, 1.0, -1.0)


def _loss(params: Any, world: Any, prompt: Any, target: Any) -> Any:
    context, query = prompt[:, :-1], prompt[:, -1]
    wanted = query @ params["W_Q"].T @ params["W_K"]
    attention = jax.nn.softmax(jnp.einsum("bld,bd->bl", context, wanted), axis=-1)
    read = jnp.einsum("bl,bld->bd", attention, context)
    output = jax.nn.relu(read @ params["W_V"].T @ params["W_O"].T) @ world[3]
    return jnp.maximum(0, 1 - target * output).mean()
