import itertools
import math

import pytest
import torch
from torch import Tensor

from synthetic_tasks import threefry
from synthetic_tasks.threefry import (
    STREAMS,
    fold,
    key_of,
    normals,
    stream,
    threefry2x32,
    uniforms,
)

MANY = 2**16


def words(*numbers: int) -> tuple[Tensor, Tensor]:
    first, second = (torch.tensor(number) for number in numbers)
    return first, second


def kolmogorov_smirnov(cumulative: Tensor) -> float:
    """How far these numbers are from uniform: P(result > t) is at most 2 exp(-2 t^2)."""
    ordered, n = cumulative.double().sort().values, len(cumulative)
    grid = torch.arange(n + 1, dtype=torch.float64) / n
    return math.sqrt(n) * float(torch.maximum(ordered - grid[:-1], grid[1:] - ordered).max())


# 2 exp(-2 t^2) = 1e-6 at t = 2.69. The keys are fixed, so these tests fail always or never.
KS = 2.69


# Counter, key, output: "threefry2x32 20" in kat_vectors of Random123, the authors' own code.
@pytest.mark.parametrize(
    ("counter", "key", "output"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_the_cipher_gives_the_published_test_vectors(counter, key, output):
    assert threefry2x32(words(*key), words(*counter)) == words(*output)


def test_uniforms_are_the_top_bits_of_the_cipher_at_counters_zero_one_two():
    key = key_of(0x1234_5678_9ABC_DEF0)
    pairs = [threefry2x32((key[0], key[1]), words(i, 1)) for i in range(3)]
    expected = [(int(word) >> 9) + 0.5 for pair in pairs for word in pair]
    torch.testing.assert_close(
        uniforms(key, (5,), torch.float64) * 2**23,
        torch.tensor(expected[:5], dtype=torch.float64),
        rtol=0,
        atol=0,
    )


def test_the_key_of_a_seed_holds_all_its_bits():
    assert key_of(0x1234_5678_9ABC_DEF0).tolist() == [0x12345678, 0x9ABCDEF0]
    assert key_of(2**63 - 1).tolist() == [0x7FFFFFFF, 0xFFFFFFFF]


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=rf"^seed is {seed}, but must lie in \[0, 2\*\*63\)$"):
        key_of(seed)


def test_an_unknown_stream_is_refused_by_naming_the_known_ones():
    with pytest.raises(
        ValueError, match=r"^stream is 'tran', .* world, train, evaluation, init, pr"
    ):
        stream(3, "tran")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("word", [0, 0xFFFFFFFF])
def test_the_extreme_words_stay_off_the_ends_and_below_any_count(monkeypatch, dtype, word):
    monkeypatch.setattr(threefry, "threefry2x32", lambda key, at: (at[0] * 0 + word,) * 2)
    (u,) = uniforms(key_of(0), (1,), dtype)
    assert 0 < u < 1
    counts = torch.arange(1, 5000)
    assert ((u * counts).floor() < counts).all()
    assert normals(key_of(0), (1,)).isfinite().all()


def test_numbers_are_the_same_in_either_precision():
    key = stream(11, "train")
    single, double = uniforms(key, (999,)), uniforms(key, (999,), torch.float64)
    assert single.dtype == torch.float32
    assert double.dtype == torch.float64
    assert single.double().equal(double)


@pytest.mark.parametrize("draw", [uniforms, normals])
def test_the_first_numbers_of_a_longer_draw_are_those_of_a_shorter_one(draw):
    key = stream(5, "world")
    long = draw(key, (4, 25))
    assert long.flatten().equal(draw(key, (100,)))
    for count in (1, 2, 7, 50):
        assert draw(key, (count,)).equal(long.flatten()[:count])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("skip", [0, 1, 2, 3, 6, 11, 24])
def test_what_is_skipped_is_what_a_longer_draw_begins_with(skip, dtype):
    keys = torch.stack([stream(seed, "evaluation") for seed in (5, 2**40 + 9)])
    long = uniforms(keys, (40,), dtype)
    for count in (0, 1, 2, 5, 8, 15):
        found = uniforms(keys, (count,), dtype, skip)
        assert found.dtype == dtype
        assert found.equal(long[:, skip : skip + count])
    shaped = uniforms(keys[0], (3, 5), dtype, skip=skip)
    assert shaped.equal(long[0, skip : skip + 15].unflatten(0, (3, 5)))


def test_draws_that_skip_each_other_are_one_draw():
    key, parts = stream(5, "evaluation"), (3, 4, 1, 7, 2)
    pieces = [uniforms(key, (count,), skip=sum(parts[:place])) for place, count in enumerate(parts)]
    assert torch.cat(pieces).equal(uniforms(key, (17,)))


def test_a_skip_reaches_beyond_what_was_ever_drawn():
    key, far = stream(5, "evaluation"), 2**31 + 1
    words = threefry2x32((key[0], key[1]), (torch.tensor(far // 2), torch.tensor(1)))
    (u,) = uniforms(key, (1,), torch.float64, skip=far)
    assert u * 2**23 == (int(words[1]) >> 9) + 0.5


@pytest.mark.parametrize("draw", [uniforms, normals])
def test_bits_do_not_depend_on_how_many_keys_are_evaluated_at_once(draw):
    keys = torch.stack([stream(seed, "train") for seed in (0, 3, 2**40 + 9)])
    alone = torch.stack([draw(fold(key, 17), (3, 5)) for key in keys])
    assert draw(fold(keys, 17), (3, 5)).equal(alone)
    mapped = torch.vmap(lambda key, number: draw(fold(key, number), (3, 5)), (0, None))
    assert mapped(keys, torch.tensor(17)).equal(alone)
    assert draw(fold(keys, torch.tensor([17, 18, 19])), (3, 5))[0].equal(alone[0])


def test_no_two_seeds_streams_or_folds_share_a_key():
    seeds = [*range(40), 2**32, 2**32 + 1, 2**62]
    roots = torch.stack([stream(seed, name) for seed in seeds for name in STREAMS])
    number = torch.arange(200)
    keys = torch.vmap(lambda key: torch.vmap(lambda n: fold(key, n))(number))(roots).flatten(0, 1)
    everything = torch.cat([torch.stack([key_of(seed) for seed in seeds]), roots, keys])
    assert len(everything.unique(dim=0)) == len(seeds) * (1 + len(STREAMS) * (1 + len(number)))


def test_a_key_folded_from_a_key_is_none_of_the_words_drawn_from_it():
    key = key_of(7)
    children = torch.stack([fold(key, number) for number in range(50)])
    drawn = (uniforms(key, (50, 2), torch.float64) * 2**23).floor().long()
    assert not torch.isin(children >> 9, drawn).any()


def test_streams_folds_and_neighbours_do_not_correlate():
    draws = {name: uniforms(stream(1, name), (MANY,)) for name in STREAMS}
    draws |= {f"fold {n}": uniforms(fold(stream(1, "train"), n), (MANY,)) for n in range(3)}
    draws |= {"next seed": uniforms(stream(2, "train"), (MANY,))}
    draws |= {f"lag {lag}": draws["train"].roll(lag) for lag in (1, 2, 3)}
    correlation = torch.corrcoef(torch.stack([draw.double() for draw in draws.values()]))
    # Of independent numbers each is N(0, 1/n); of 66 pairs none exceeds five standard deviations.
    assert len(draws) == 12
    for one, other in itertools.combinations(range(len(draws)), 2):
        assert abs(correlation[one, other]) < 5 / math.sqrt(MANY)


@pytest.mark.parametrize("words_of_a_pair", [slice(0, None, 2), slice(1, None, 2)])
def test_uniforms_are_uniform(words_of_a_pair):
    u = uniforms(stream(3, "evaluation"), (2 * MANY,))[words_of_a_pair]
    assert kolmogorov_smirnov(u) < KS
    # The lowest of the 23 bits is as fair as the highest: a mean of n coins is 1/2 +- 1/(2 sqrt n).
    lowest = (u.double() * 2**23).floor() % 2
    assert abs(lowest.mean() - 0.5) < 5 / (2 * math.sqrt(MANY))


def test_normals_are_standard_normal():
    z = normals(stream(3, "init"), (MANY,), torch.float64)
    assert kolmogorov_smirnov(torch.special.ndtr(z)) < KS
    # The mean is N(0, 1/n), the mean square 1 with variance 2/n; the tails reach where they should.
    assert abs(z.mean()) < 5 / math.sqrt(MANY)
    assert abs(z.square().mean() - 1) < 5 * math.sqrt(2 / MANY)
    assert 3.5 < z.abs().max() < 5.4


def test_normals_in_single_precision_are_the_rounded_double_ones():
    key = stream(3, "init")
    assert normals(key, (99,)).equal(normals(key, (99,), torch.float64).float())


def test_a_key_on_the_host_is_folded_as_keys_in_tensors_are():
    keys = torch.stack([key_of(seed) for seed in (0, 7, 2**40 + 3, 2**63 - 1)])
    for number in (0, 5, 2**32 - 1):
        together = fold(keys, number)
        assert torch.stack([fold(key, number) for key in keys]).equal(together)
        assert torch.func.vmap(lambda key, number=number: fold(key, number))(keys).equal(together)
