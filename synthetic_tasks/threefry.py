"""Counter-based random numbers: every uniform is a function of (key, index), on any device.

Threefry-2x32 with twenty rounds (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
1, 2, 3", SC 2011) in integer tensor operations. It runs inside a compiled step, has no state to
store, and gives the same bits however many keys are evaluated at once. Words are numbers below
2**32, held in int64.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

_WORD = 0xFFFFFFFF
_PARITY = 0x1BD11BDA  # Threefish key-schedule constant C240, 32-bit form
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_BITS = 23  # a float32 in (0, 1) holds 23 random bits and the half that keeps it off the ends

# What a key is folded with first, so that no two uses of one seed share a number.
STREAMS = {"world": 1, "train": 2, "evaluation": 3, "init": 4, "probe": 5}


def threefry2x32(
    key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Two output words for two key words and two counter words, broadcast against each other."""
    first, second = _signed(key, counter)
    return first.long() & _WORD, second.long() & _WORD


def key_of(seed: int) -> Int[Tensor, " 2"]:
    """The root key of a seed. Raises ``ValueError`` unless ``0 <= seed < 2**63``."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed is {seed}, but must lie in [0, 2**63)")
    return torch.tensor([seed >> 32, seed & _WORD], dtype=torch.int64)


def fold(key: Int[Tensor, "*k 2"], number: int | Int[Tensor, "*k"]) -> Int[Tensor, "*k 2"]:
    """A new key for each (key, number); numbers lie in [0, 2**32). Raises as ``require_key``."""
    require_key(key)
    if isinstance(number, int) and is_plain(key):
        return torch.tensor(_words(key.tolist(), number))
    number = torch.as_tensor(number, dtype=torch.int64, device=key.device)
    return torch.stack(
        threefry2x32((key[..., 0], key[..., 1]), (number, torch.zeros_like(number))), dim=-1
    )


def require_key(key: object) -> None:
    """Raises ``TypeError`` for what is no key, such as a seed."""
    if not isinstance(key, Tensor):
        raise TypeError(
            f"the key is {key!r}, but must be made of a seed and a use: stream(seed, 'probe') of "
            "synthetic_tasks.threefry"
        )


def stream(seed: int, name: str) -> Int[Tensor, " 2"]:
    """The key of one use of a seed: ``world``, ``train``, ``evaluation``, ``init`` or ``probe``."""
    if name not in STREAMS:
        raise ValueError(f"stream is {name!r}, but must be one of {', '.join(STREAMS)}")
    return fold(key_of(seed), STREAMS[name])


def uniforms(
    key: Int[Tensor, "*k 2"],
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    skip: int = 0,
) -> Float[Tensor, "..."]:
    """Independent uniforms on the open interval (0, 1), of ``shape`` for each key.

    They are the midpoints of 2**23 cells, the same numbers in float32 as in float64, so that
    ``floor(n * u)`` is below ``n`` in either precision, and a run sees the same data whatever its
    dtype but for the rare ``n * u`` that rounding carries over an integer. The first numbers of a
    longer draw are those of a shorter one; ``skip`` leaves out so many of them.

    Returns:
        The axes of the keys, then those of ``shape``.
    """
    count = torch.Size(shape).numel()
    index = torch.arange(skip // 2, (skip + count + 1) // 2, device=key.device)
    pairs = _signed((key[..., :1], key[..., 1:]), (index, index.new_ones(())))
    # The first bits of each word; the shift copies the sign, which is masked off.
    words = [(word >> (32 - _BITS)) & ((1 << _BITS) - 1) for word in pairs]
    cells = torch.stack(words, dim=-1).flatten(-2)
    cells = cells[..., skip % 2 : skip % 2 + count].to(dtype)
    return ((cells + 0.5) * 2.0**-_BITS).unflatten(-1, shape)


def normals(
    key: Int[Tensor, "*k 2"], shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> Float[Tensor, "..."]:
    """Independent standard normals, by the inverse distribution function: within 5.3 of zero."""
    return torch.special.ndtri(uniforms(key, shape, torch.float64)).to(dtype)


def _signed(key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The bits of ``threefry2x32`` in int32, of which twice as many fit into a register."""
    first_key, second_key = (word.to(torch.int32) for word in key)
    first, second = (word.to(torch.int32) for word in counter)
    return _twenty_rounds(first_key, second_key, first, second, torch.add)  # which wraps around


def _twenty_rounds(
    first_key: Any, second_key: Any, first: Any, second: Any, plus: Callable[..., Any]
) -> tuple[Any, Any]:
    """The rounds on words of any kind; ``plus`` adds ``alpha`` times a word, modulo 2**32."""
    schedule = (first_key, second_key, first_key ^ second_key ^ _PARITY)
    first, second = plus(first, first_key), plus(second, second_key)
    for block in range(5):
        for rotation in _ROTATIONS[block % 2]:
            first = plus(first, second)
            # Bits to the left, and those that leave come in again from the right, without the
            # copies of the sign that come with them.
            leaving = (second >> (32 - rotation)) & ((1 << rotation) - 1)
            second = plus(leaving, second, alpha=1 << rotation) ^ first
        first = plus(first, schedule[(block + 1) % 3])
        second = plus(second, schedule[(block + 2) % 3] + (block + 1))
    return first, second


def _words(key: Sequence[int], number: int) -> tuple[int, int]:
    """The words of one key and one number as Python computes them: fifty times sooner."""
    first_key, second_key = key
    return _twenty_rounds(
        first_key, second_key, number, 0, lambda a, b, alpha=1: (a + b * alpha) & _WORD
    )


def is_plain(key: Tensor) -> bool:
    """Whether this is one key in the memory of this machine, and no stand-in for many of them."""
    stands_in = torch._C._functorch.is_functorch_wrapped_tensor(key)
    return key.ndim == 1 and key.device.type == "cpu" and type(key) is Tensor and not stands_in
