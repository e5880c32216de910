"""Byte-level text classification: signed cue words among neutral ones.

A text is a row of words of the member's own vocabulary; its label is the sign of most of its cue
words. Here two of three, with padding (``_``) before the text::

    text    ___________txlab hagnv tjaqsao auahu lsengtw gdvxkqs qrm
    sign    ...........-----.............................-------.+++
    target  -1
"""

import math
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from synthetic_tasks.task import Batch
from synthetic_tasks.threefry import uniforms
from synthetic_tasks.value import require_between, require_count, value

NOTHING = -1  # in place of a word: a space or padding

_BYTES = 256
_SPACE, _FIRST_LETTER, _LETTERS = ord(" "), ord("a"), 26
_SHORTEST, _LONGEST = 3, 7  # letters of a word
_LARGEST = 10_000  # words, of which so short ones are still easily all different


class World(NamedTuple):
    """The vocabulary of one member: positive cue words, as many negative ones, neutral words."""

    letters: UInt8[Tensor, "*m w k"]  # as bytes; what exceeds the size of a word is not used
    size: Int[Tensor, "*m w"]  # letters of each word


class Latent(NamedTuple):
    """What the generator knows of each prompt and no model may see."""

    word: Int[Tensor, "*b n"]  # the word in the vocabulary whose letter this is; or NOTHING
    cue: Bool[Tensor, "*b n"]  # whether it is a letter of a cue word
    sign: Float[Tensor, "*b n"]  # of that cue word, +1 or -1; 0 elsewhere


@value
class CueText:
    """Texts as one-hot bytes, with padding before them: zeros where the mask is False.

    A text has as many words as fit into ``length`` bytes when all are of the longest kind, so that
    no word is ever cut. The cue words stand at random places among the words from the fraction
    ``start`` of a text to the fraction ``end``; another range is the same task with the same
    vocabulary. Of each pair of prompts in a batch one label is +1 and one -1.

    Raises:
        ValueError: for numbers out of range, and for a range with too few places.
    """

    revision: ClassVar[int] = 1
    token_width: ClassVar[int] = _BYTES
    balance: ClassVar[int] = 2

    length: int = 128  # bytes
    neutral: int = 40  # words of the vocabulary
    cues: int = 5  # cue words of either sign in the vocabulary
    signs: int = 3  # cue words in a text
    majority: int = 2  # of these, how many have the sign of the label
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        require_count("length", self.length, _LONGEST)
        require_count("neutral", self.neutral, 1)
        require_count("cues", self.cues, 1)
        require_between("neutral + 2 cues", self.neutral + 2 * self.cues, 3, _LARGEST)
        require_count("signs", self.signs, 1)
        require_count("majority", self.majority, 1)
        require_between("majority", self.majority, self.signs / 2, self.signs, above=True)
        require_between("start", self.start, 0, 1)
        require_between("end", self.end, 0, 1)
        first, last = self._places
        if last - first < self.signs:
            raise ValueError(
                f"signs is {self.signs}, but between start {self.start:g} and end {self.end:g} "
                f"stand {max(0, last - first)} of {self.words} words"
            )

    @property
    def columns(self) -> int:
        """One for each byte."""
        return self.length

    @property
    def words(self) -> int:
        """How many words a text has."""
        return (self.length + 1) // (_LONGEST + 1)

    @property
    def uniforms(self) -> int:
        """For the label, for the places of the cue words, and for each word."""
        first, last = self._places
        return 1 + last - first + self.words

    @property
    def _places(self) -> tuple[int, int]:
        """The first place for a cue word, and the first after the last one."""
        rounding = 1e-9  # a third of nine words is three
        return (
            math.ceil(self.start * self.words - rounding),
            math.floor(self.end * self.words + rounding),
        )

    def world(self, key: Int[Tensor, " 2"]) -> World:
        """The vocabulary of the member with this key; all words differ."""
        wanted = self.neutral + 2 * self.cues
        u = uniforms(key, (2 * wanted + 10, 1 + _LONGEST), torch.float64)  # with some to spare
        size = _SHORTEST + (u[:, 0] * (_LONGEST - _SHORTEST + 1)).long()
        letters = _FIRST_LETTER + (u[:, 1:] * _LETTERS).long()
        first: dict[tuple[int, ...], int] = {}
        for row, (word, count) in enumerate(zip(letters.tolist(), size.tolist(), strict=True)):
            first.setdefault(tuple(word[:count]), row)
        rows = torch.tensor(list(first.values())[:wanted])
        return World(letters[rows].byte(), size[rows])

    def draw(self, world: World, uniforms: Float[Tensor, "b u"]) -> Batch:
        """Texts, an even number of them."""
        if len(uniforms) % 2:
            raise ValueError(
                f"a batch has {len(uniforms)} prompts, but must be even: one of each pair is +1"
            )
        first, last = self._places
        side, place, choice = uniforms.split((1, last - first, self.words), dim=-1)
        order = side.unflatten(0, (-1, 2)).argsort(dim=1, stable=True).flatten()
        target = 1 - 2 * order.to(uniforms.dtype)

        # The cue words take the places of lowest rank, those of the label's sign the lowest of all.
        rank = place.argsort(dim=-1, stable=True)  # a random permutation, and so is its inverse
        sign = torch.where(rank < self.majority, target[:, None], -target[:, None])
        sign = torch.where(rank < self.signs, sign, 0.0)
        sign = torch.nn.functional.pad(sign, (first, self.words - last))
        cue = (choice * self.cues).long() + torch.where(sign < 0, self.cues, 0)
        neutral = 2 * self.cues + (choice * self.neutral).long()
        word = torch.where(sign != 0, cue, neutral)

        letter = self._letters(word, world.size)
        there = letter != NOTHING
        at = torch.where(there, letter // _LONGEST, NOTHING)
        mask = there.cumsum(-1) > 0  # from the first letter on
        byte = torch.where(there, world.letters.flatten()[letter.clamp(min=0)].long(), _SPACE)
        positive, negative = there & (at < self.cues), (at >= self.cues) & (at < 2 * self.cues)
        shown = (byte[..., None] == torch.arange(_BYTES, device=byte.device)) & mask[..., None]
        return Batch(
            prompt=shown.to(uniforms.dtype),
            mask=mask,
            target=target,
            latent=Latent(
                word=at,
                cue=positive | negative,
                sign=positive.to(uniforms.dtype) - negative.to(uniforms.dtype),
            ),
        )

    def text(self, prompt: Float[Tensor, "b n d"]) -> list[str]:
        """Prompts for a person to read, without their padding."""
        shown = [row[row.any(-1)].argmax(-1) for row in prompt]
        return [bytes(byte.tolist()).decode("ascii") for byte in shown]

    def _letters(self, word: Int[Tensor, "b s"], size: Int[Tensor, " w"]) -> Int[Tensor, "b n"]:
        """Words set one after the other up to the last column, a column between them.

        Returns:
            The letter in each column, counted through the vocabulary, or NOTHING.
        """
        taken = size[word] + 1
        start = self.length + 1 - taken.flip(-1).cumsum(-1).flip(-1)
        k = torch.arange(_LONGEST, device=word.device)
        inside = k < size[word][..., None]
        # Letters that a word does not have go to a column behind the last, which is dropped.
        column = torch.where(inside, start[..., None] + k, self.length).flatten(-2)
        letter = (word[..., None] * _LONGEST + k).flatten(-2)
        nothing = torch.full_like(column[:, :1], NOTHING).expand(-1, self.length + 1)
        return nothing.scatter(-1, column, letter)[:, :-1]
