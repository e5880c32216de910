import math
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch.func import vmap

from synthetic_tasks import Task, cue_text, sample
from synthetic_tasks.cue_text import NOTHING, CueText, World
from synthetic_tasks.task import Batch
from synthetic_tasks.threefry import stream, uniforms

SEED = 6
TASK = CueText(length=100, neutral=13, cues=4, signs=5, majority=3)
SETTINGS = [
    TASK,
    CueText(),
    replace(TASK, signs=1, majority=1),
    replace(TASK, majority=5),
    replace(TASK, start=0.5),
    replace(TASK, start=0.25, end=0.75, length=131),
    CueText(length=7, signs=1, majority=1),
]


@cache
def vocabulary(task: CueText, seed: int = SEED) -> list[str]:
    """The words of a member: positive cue words, negative ones, neutral ones."""
    world = task.world(stream(seed, "world"))
    return [
        bytes(letters[:size]).decode()
        for letters, size in zip(world.letters.tolist(), world.size.tolist(), strict=True)
    ]


def signs(task: CueText, text: str) -> list[int]:
    """The sign of each word of a text: +1, -1, or 0 for a neutral one."""
    words = vocabulary(task)
    of = dict.fromkeys(words[2 * task.cues :], 0)
    of |= dict.fromkeys(words[: task.cues], 1) | dict.fromkeys(words[task.cues : 2 * task.cues], -1)
    return [of[word] for word in text.split(" ")]


def parsed(task: CueText, size: int = 60) -> tuple[Batch, list[list[int]]]:
    batch = sample(task, seed=SEED, size=size)
    return batch, [signs(task, text) for text in task.text(batch.prompt)]


# Vocabulary.


@pytest.mark.parametrize("task", [TASK, CueText(neutral=3000, cues=100)])
def test_words_are_all_different_and_have_three_to_seven_lower_case_letters(task):
    words = vocabulary(task)
    assert len(words) == len(set(words)) == task.neutral + 2 * task.cues
    assert {len(word) for word in words} == {3, 4, 5, 6, 7}
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words)


def test_letters_and_lengths_of_words_are_equally_frequent():
    words = vocabulary(CueText(neutral=3000))
    for seen, kinds in ((Counter("".join(words)), 26), (Counter(map(len, words)), 5)):
        assert len(seen) == kinds
        total = sum(seen.values())
        # Short words that occur twice are left out, hardly ever among so few: 5 sigmas and 1 %.
        slack = 5 * math.sqrt(total / kinds) + 0.01 * total / kinds
        assert all(abs(count - total / kinds) < slack for count in seen.values())


def test_members_have_vocabularies_of_their_own():
    assert not set(vocabulary(TASK, seed=1)) & {
        word for word in vocabulary(TASK, seed=2) if len(word) > 4
    }


def test_another_range_majority_or_length_keeps_the_vocabulary_and_more_neutral_words_the_cues():
    for other in SETTINGS[2:6]:
        assert vocabulary(other) == vocabulary(TASK)
    assert vocabulary(replace(TASK, neutral=40))[: len(vocabulary(TASK))] == vocabulary(TASK)


# Texts, read back word by word.


@pytest.mark.parametrize("task", SETTINGS)
def test_a_text_is_words_of_the_vocabulary_at_the_end_of_the_columns(task):
    batch, each = parsed(task)
    assert batch.prompt.shape == (60, task.columns, 256)
    assert batch.mask[:, -1].all()
    for row, text in enumerate(task.text(batch.prompt)):
        shown = batch.prompt[row].sum(-1)
        assert shown.tolist() == [0.0] * (task.length - len(text)) + [1.0] * len(text)
        assert batch.mask[row].equal(shown.bool())
    assert {len(words) for words in each} == {task.words}


@pytest.mark.parametrize("task", SETTINGS)
def test_the_words_are_as_many_as_always_fit(task):
    assert task.words * 7 + task.words - 1 <= task.length < (task.words + 1) * 7 + task.words


@pytest.mark.parametrize("task", SETTINGS)
def test_a_text_has_its_cue_words_and_the_majority_has_the_sign_of_the_target(task):
    batch, each = parsed(task)
    for target, words in zip(batch.target.tolist(), each, strict=True):
        assert words.count(target) == task.majority
        assert words.count(-target) == task.signs - task.majority


@pytest.mark.parametrize("task", SETTINGS)
def test_cue_words_stand_only_in_the_range_and_everywhere_in_it(task):
    _, each = parsed(task, size=200)
    found = {place for words in each for place, sign in enumerate(words) if sign}
    wanted = range(math.ceil(task.start * task.words), math.floor(task.end * task.words))
    assert found == set(wanted)


def test_both_signs_are_equally_frequent_at_each_place_and_every_place_is_equally_likely():
    size = 1000
    _, each = parsed(TASK, size=size)
    for place in zip(*each, strict=True):
        for sign, chance in ((1, 5 / 24), (-1, 5 / 24)):  # 5 of 12 words, half of either sign
            sigma = math.sqrt(size * chance * (1 - chance))
            assert abs(place.count(sign) - size * chance) < 5 * sigma


def test_words_of_a_kind_are_equally_frequent():
    batch = sample(TASK, seed=SEED, size=1000)
    counts = Counter(word for text in TASK.text(batch.prompt) for word in text.split(" "))
    words = vocabulary(TASK)
    for kind, total in ((words[:4], 2500), (words[4:8], 2500), (words[8:], 7000)):
        expected = total / len(kind)
        assert all(abs(counts[word] - expected) < 5 * math.sqrt(expected) for word in kind)


def test_one_word_of_two_kinds_is_drawn_independently_in_each_place():
    batch = sample(replace(TASK, cues=1, neutral=2), seed=SEED, size=600)
    texts = [text.split(" ") for text in TASK.text(batch.prompt)]
    words = vocabulary(replace(TASK, cues=1, neutral=2))[2:]
    pairs = Counter(
        (a, b)
        for text in texts
        for a, b in zip(text[::2], text[1::2], strict=True)
        if {a, b} <= set(words)
    )
    total = sum(pairs.values())
    assert all(abs(n - total / 4) < 5 * math.sqrt(total * 3 / 16) for n in pairs.values())


@pytest.mark.parametrize("size", [2, 10, 64])
def test_one_label_of_each_pair_is_plus_one_and_which_is_drawn(size):
    batches = [sample(TASK, seed=SEED, size=size, step=step) for step in range(12)]
    first = torch.cat([batch.target[::2] for batch in batches])
    second = torch.cat([batch.target[1::2] for batch in batches])
    assert (first + second == 0).all()
    assert set(first.tolist()) == {-1, 1}


# What the generator knows.


@pytest.mark.parametrize("task", SETTINGS)
def test_the_latent_names_the_word_and_the_sign_under_each_letter(task):
    batch, _ = parsed(task, size=20)
    words = vocabulary(task)
    for row, text in enumerate(task.text(batch.prompt)):
        of = dict(zip(text.split(" "), signs(task, text), strict=False))
        wanted: list[tuple[int, float]] = []
        for word in text.split(" "):
            wanted += [(NOTHING, 0)] if wanted else []
            wanted += [(words.index(word), of[word])] * len(word)
        wanted = [(NOTHING, 0)] * (task.length - len(text)) + wanted
        latent = [part[row] for part in (batch.latent.word, batch.latent.sign)]
        assert [tuple(pair) for pair in zip(*(part.tolist() for part in latent), strict=True)] == (
            wanted
        )
        assert batch.latent.cue[row].equal(batch.latent.sign[row] != 0)


def test_the_example_of_the_module_is_drawn_as_it_says():
    task = CueText(length=56)
    batch = sample(task, seed=7, size=2)
    assert f"text    {task.text(batch.prompt)[0]:_>56}\n" in str(cue_text.__doc__)
    sign = "".join(".+-"[int(sign)] for sign in batch.latent.sign[0])
    assert f"sign    {sign}\n" in str(cue_text.__doc__)
    assert f"target  {batch.target[0]:+.0f}\n" in str(cue_text.__doc__)


# Machinery.


def flat(batch: Batch) -> list[Any]:
    return [*batch[:3], *batch.latent]


def test_it_is_a_task_that_is_balanced_in_pairs():
    assert isinstance(TASK, Task)
    assert (TASK.balance, TASK.columns, TASK.token_width) == (2, 100, 256)


def test_a_sample_is_a_function_of_its_seed_and_the_first_prompts_of_many_are_those_of_few():
    few, many = (sample(TASK, seed=SEED, size=size) for size in (6, 20))
    assert all(a.equal(b[:6]) for a, b in zip(flat(few), flat(many), strict=True))
    assert not sample(TASK, seed=SEED, size=6, step=1).prompt.equal(few.prompt)
    assert not sample(TASK, seed=SEED + 1, size=6).prompt.equal(few.prompt)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sample_has_the_precision_asked_for(dtype):
    batch = sample(TASK, seed=SEED, size=2, dtype=dtype)
    assert {part.dtype for part in (batch.prompt, batch.target, batch.latent.sign)} == {dtype}


def test_a_mapped_member_draws_what_it_draws_alone():
    worlds = [TASK.world(stream(seed, "world")) for seed in (0, 1)]
    u = torch.stack([uniforms(stream(seed, "train"), (8, TASK.uniforms)) for seed in (0, 1)])
    world = World(*(torch.stack(leaf) for leaf in zip(*worlds, strict=True)))
    together = vmap(TASK.draw)(world, u)
    shared = vmap(TASK.draw, (World._make([None, None]), 0))(worlds[1], u)
    for member in (0, 1):
        alone = TASK.draw(worlds[member], u[member])
        assert all(a[member].equal(b) for a, b in zip(flat(together), flat(alone), strict=True))
    assert all(a[1].equal(b[1]) for a, b in zip(flat(shared), flat(together), strict=True))


@pytest.mark.parametrize("end", [0.0, 1 - 2.0**-24])
def test_the_ends_of_the_unit_interval_are_words_too(end):
    batch = TASK.draw(TASK.world(stream(SEED, "world")), torch.full((2, TASK.uniforms), end))
    words = vocabulary(TASK)
    positive, negative, neutral = (words[0:4], words[4:8], words[8:])
    for text in TASK.text(batch.prompt):
        at = 0 if end == 0 else -1
        assert set(text.split(" ")) == {positive[at], negative[at], neutral[at]}


@pytest.mark.parametrize(
    ("wrong", "error", "line"),
    [
        ({"length": 6}, ValueError, "length is 6, but must be at least 7"),
        ({"neutral": 0}, ValueError, "neutral is 0, but must be at least 1"),
        ({"cues": 0}, ValueError, "cues is 0, but must be at least 1"),
        ({"cues": 2.5}, TypeError, "cues"),
        ({"neutral": 9999}, ValueError, r"neutral \+ 2 cues is 10007, but .* \[3, 10000\]"),
        ({"signs": 0}, ValueError, "signs is 0, but must be at least 1"),
        ({"majority": 2}, ValueError, r"majority is 2, but must lie in \(2.5, 5\]"),
        ({"majority": 6}, ValueError, r"majority is 6, but must lie in \(2.5, 5\]"),
        ({"start": -0.1}, ValueError, r"start is -0.1, but must lie in \[0, 1\]"),
        ({"end": 1.1}, ValueError, r"end is 1.1, but must lie in \[0, 1\]"),
        (
            {"start": 0.5, "end": 0.75},
            ValueError,
            "signs is 5, but between start 0.5 and end 0.75 stand 3 of 12 words",
        ),
        (
            {"start": 0.9, "end": 0.1},
            ValueError,
            "signs is 5, but between start 0.9 and end 0.1 stand 0 of 12 words",
        ),
        (
            {"length": 38},
            ValueError,
            "signs is 5, but between start 0 and end 1 stand 4 of 4 words",
        ),
    ],
    ids=str,
)
def test_a_bad_setting_gets_one_line_that_says_what_would_be_right(wrong, error, line):
    with pytest.raises(error, match=line):
        replace(TASK, **wrong)


def test_a_range_whose_fractions_were_rounded_holds_the_words_it_names():
    start, end = math.nextafter(0.3, 1), math.nextafter(0.6, 0)
    rounded = replace(TASK, length=79, start=start, end=end, signs=3, majority=2)
    _, each = parsed(rounded)
    assert {place for words in each for place, sign in enumerate(words) if sign} == {3, 4, 5}


def test_an_odd_number_of_prompts_is_refused():
    world = TASK.world(stream(SEED, "world"))
    with pytest.raises(ValueError, match="a batch has 3 prompts, but must be even"):
        TASK.draw(world, torch.full((3, TASK.uniforms), 0.5))
