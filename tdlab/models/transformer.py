r"""A few transformer layers in the manner of GPT-2, on prompts of continuous tokens.

With ``normalization="before"``, as in GPT-2 (Radford et al., 2019),

.. math:: x \leftarrow x + b_O + \sum_h \mathrm{softmax}\big( \hat x\, Q_h (\hat x\, K_h)^\top /
          \sqrt w \big)\, \hat x\, V_h W_{O,h}, \qquad
          x \leftarrow x + \phi(\hat x\, W_1 + b_1)\, W_2 + b_2,

where :math:`\hat x` is the layer normalization of x and :math:`\hat x Q_h` stands for
:math:`\hat x W_{Q,h} + b_{Q,h}`. Tokens enter by a linear map, answers leave by another.
"""

import math
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from synthetic_tasks.threefry import fold, normals
from synthetic_tasks.value import Varying, require_between, require_choice, require_count, value
from tdlab.models.activations import GELU, Activation
from tdlab.models.clamp import clamped, of_each_layer
from tdlab.models.kernels import concatenated, of_heads, softmax
from tdlab.models.model import Params
from tdlab.models.normalization import standardized

NORMALIZATIONS = ("before", "after", "none")
POSITIONS = ("learned", "sinusoidal", "none")
ATTENDS = ("to earlier", "to all")
ANSWERS = ("query", "every token")


class Trace(NamedTuple):
    """What one prompt makes of the parameters."""

    output: Float[Tensor, "..."]
    attention: Float[Tensor, "layer h n n"]  # rows are queries
    neurons: Float[Tensor, "layer n m"]  # phi(..), before W_2
    residual: Float[Tensor, "layer n d"]  # x after each layer


@value
class Transformer:
    r"""The shape and the initialization.

    ``normalization`` stands before each sublayer and once at the end (as in GPT-2), after each sum
    (as in the first transformer), or nowhere. A token attends to itself and ``to earlier`` ones (a
    causal mask) or ``to all``. The ``query``, the last column, answers, or ``every token`` does; an
    answer has ``outputs`` entries, or is one number where that is ``None``. ``columns`` is how many
    tokens a prompt may have where positions are learned; a position is a column's place.

    Weights start at N(0, xi^2), biases at 0, gains at 1; what writes into the residual stream
    (``W_O``, ``W_2``) is divided by the root of twice the number of layers, all as in GPT-2.

    Leaves, w being the width of a head: at the ends the maps ``E (token_width, d)``, ``e (d,)``,
    ``P (columns, d)``, where positions are learned, ``U (d, y)``, ``u (y,)``; of attention
    ``W_Q``, ``W_K``, ``W_V (layer, h, d, w)``, ``b_Q``, ``b_K``, ``b_V (layer, h, 1, w)``,
    ``W_O (layer, h, w, d)``, ``b_O (layer, d)``; of the neurons ``W_1 (layer, d, m)``,
    ``b_1 (layer, m)``, ``W_2 (layer, m, d)``, ``b_2 (layer, d)``, and ``phi (layer, a)``, where the
    activation has coefficients; of normalization ``gain_1``, ``shift_1``, ``gain_2``,
    ``shift_2 (layer, d)``, and ``gain``, ``shift (d,)`` at the end. (``b_K`` is there as in GPT-2,
    but moves nothing: it adds the same to all scores of a query. Its gradient is rounding alone.)

    Raises:
        ValueError: for numbers out of range, unknown choices, and heads that do not divide the
            width.
        TypeError: for an activation that is none.
    """

    revision: ClassVar[int] = 1

    token_width: int = 60
    outputs: int | None = None  # y
    answers: str = "query"
    layers: int = 3
    heads: int = 2
    width: int = 64  # d, of the residual stream
    hidden: int = 256  # m
    columns: int = 64  # the longest prompt, where positions are learned
    positions: str = "learned"
    normalization: str = "before"
    attends: str = "to earlier"
    activation: Activation = GELU()
    xi: Varying[float] = 0.02

    def __post_init__(self) -> None:
        for name in ("token_width", "layers", "heads", "width", "hidden", "columns"):
            require_count(name, getattr(self, name), 1)
        if self.outputs is not None:
            require_count("outputs", self.outputs, 1)
        require_choice("answers", self.answers, ANSWERS)
        require_choice("positions", self.positions, POSITIONS)
        require_choice("normalization", self.normalization, NORMALIZATIONS)
        require_choice("attends", self.attends, ATTENDS)
        require_between("xi", self.xi, 0, math.inf)
        # A class has the methods of its values.
        if isinstance(self.activation, type) or not isinstance(self.activation, Activation):
            raise TypeError(f"activation is {self.activation!r}, but must be one, such as GELU()")
        if self.width % self.heads:
            raise ValueError(
                f"width is {self.width}, but must be a multiple of heads, {self.heads}"
            )

    @property
    def moving(self) -> tuple[str, ...]:
        """Everything."""
        return (*self._drawn, *self._constant)

    @property
    def _drawn(self) -> dict[str, tuple[tuple[int, ...], float]]:
        """Shape of each leaf that starts at random, and its standard deviation over xi."""
        head, answer = self.width // self.heads, self.outputs or 1
        into_head = (self.layers, self.heads, self.width, head)
        quiet = 1 / math.sqrt(2 * self.layers)
        leaves = {
            "E": ((self.token_width, self.width), 1.0),
            "W_Q": (into_head, 1.0),
            "W_K": (into_head, 1.0),
            "W_V": (into_head, 1.0),
            "W_O": ((self.layers, self.heads, head, self.width), quiet),
            "W_1": ((self.layers, self.width, self.hidden), 1.0),
            "W_2": ((self.layers, self.hidden, self.width), quiet),
            "U": ((self.width, answer), 1.0),
        }
        if self.positions == "learned":
            leaves["P"] = ((self.columns, self.width), 1.0)
        return leaves

    @property
    def _constant(self) -> dict[str, Tensor]:
        """Each leaf that starts as it is: biases and shifts, gains, coefficients."""
        of_head, of_token = (self.heads, 1, self.width // self.heads), (self.width,)
        zeros = {"b_Q": of_head, "b_K": of_head, "b_V": of_head, "b_O": of_token, "b_2": of_token}
        leaves = {"e": torch.zeros(self.width), "u": torch.zeros(self.outputs or 1)}
        leaves |= {name: torch.zeros(self.layers, *shape) for name, shape in zeros.items()}
        leaves["b_1"] = torch.zeros(self.layers, self.hidden)
        if self.normalization != "none":
            for which in ("1", "2"):
                leaves[f"gain_{which}"] = torch.ones(self.layers, self.width)
                leaves[f"shift_{which}"] = torch.zeros(self.layers, self.width)
        if self.normalization == "before":
            leaves |= {"gain": torch.ones(self.width), "shift": torch.zeros(self.width)}
        if self.activation.start:
            leaves["phi"] = torch.tensor([self.activation.start] * self.layers, dtype=torch.float64)
        return leaves

    def init(self, key: Int[Tensor, " 2"]) -> Params:
        """The parameters that the member with this key starts from, float64."""
        drawn = {
            name: self.xi * size * normals(fold(key, place), shape, torch.float64)
            for place, (name, (shape, size)) in enumerate(self._drawn.items())
        }
        return drawn | {name: leaf.double() for name, leaf in self._constant.items()}

    def sees(self, mask: Bool[Tensor, " n"]) -> Bool[Tensor, "n n"]:
        """Which token sees which: itself always, so that padding has something to attend to."""
        itself = torch.eye(len(mask), dtype=torch.bool, device=mask.device)
        seen = mask.expand(len(mask), -1)
        return (seen if self.attends == "to all" else seen.tril()) | itself

    def forward(
        self,
        params: Params,
        prompt: Float[Tensor, "n d"],
        mask: Bool[Tensor, " n"],
        clamp: Float[Tensor, "layer h n n"] | None = None,
    ) -> Trace:
        """As ``Model.forward``.

        Returns:
            The trace of one prompt.

        Raises:
            ValueError: for a prompt that has more tokens than there are positions, and a clamp of
                another shape.
        """
        x = prompt @ params["E"] + params["e"] + self._positions(params, prompt)
        sees = self.sees(mask)
        clamps = of_each_layer(clamp, self.layers)
        passed = []
        for layer, held in enumerate(clamps):
            its = {name: leaf[layer] for name, leaf in params.items() if name not in _ENDS}
            entering = x
            passed.append(self._layer(its, entering, entering, sees, held))
            x = passed[-1].residual
        if self.answers == "query":
            # Once more, at the query alone: training then drops what other tokens make of the last
            # layer, a quarter of a step of three layers.
            held = clamps[-1] if clamps[-1] is None else clamps[-1][:, -1:]
            x = self._layer(its, entering, entering[-1:], sees[-1:], held).residual[0]
        output = self._before(params, "", x) @ params["U"] + params["u"]
        return Trace(
            output[..., 0] if self.outputs is None else output,
            *(torch.stack(each) for each in zip(*passed, strict=True)),
        )

    def _layer(
        self,
        its: Params,
        tokens: Float[Tensor, "n d"],
        asking: Float[Tensor, "q d"],
        sees: Bool[Tensor, "q n"],
        clamp: Float[Tensor, "h q n"] | None,
    ) -> "_Layer":
        """What one layer makes of the tokens that ask."""
        before = self._before(its, "1", tokens)
        k, v = (of_heads(before, its[f"W_{name}"]) + its[f"b_{name}"] for name in "KV")
        q = of_heads(self._before(its, "1", asking), its["W_Q"]) + its["b_Q"]
        attention = clamped(softmax(q, k, sees), clamp)
        read = concatenated(attention @ v, its["W_O"]) + its["b_O"]
        x = self._after(its, "1", asking + read)
        pre = self._before(its, "2", x) @ its["W_1"] + its["b_1"]
        neurons = self.activation(pre, its.get("phi", pre.new_empty(0)))
        x = self._after(its, "2", x + neurons @ its["W_2"] + its["b_2"])
        return _Layer(attention, neurons, x)

    def _positions(self, params: Params, prompt: Float[Tensor, "n t"]) -> Float[Tensor, "..."]:
        if self.positions == "none":
            return prompt.new_zeros(())
        if self.positions == "sinusoidal":
            return _sinusoids(prompt, self.width)
        if len(prompt) > self.columns:
            raise ValueError(
                f"the prompt has {len(prompt)} tokens, but the model has {self.columns} positions"
            )
        return params["P"][: len(prompt)]

    def _before(self, params: Params, which: str, x: Float[Tensor, "*n d"]) -> Float[Tensor, "..."]:
        return _scaled(params, which, x) if self.normalization == "before" else x

    def _after(self, params: Params, which: str, x: Float[Tensor, "*n d"]) -> Float[Tensor, "..."]:
        return _scaled(params, which, x) if self.normalization == "after" else x


class _Layer(NamedTuple):
    """What one layer makes of the tokens that ask."""

    attention: Float[Tensor, "h q n"]
    neurons: Float[Tensor, "q m"]
    residual: Float[Tensor, "q d"]


_ENDS = ("E", "e", "P", "U", "u", "gain", "shift")


def _scaled(params: Params, which: str, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """Layer normalization with the gain and the shift of that place; the last one has no number."""
    end = which and f"_{which}"
    return standardized(x) * params[f"gain{end}"] + params[f"shift{end}"]


def _sinusoids(prompt: Float[Tensor, "n t"], width: int) -> Float[Tensor, "n d"]:
    """Sines, then cosines, of wavelengths from 2 pi to 20,000 pi (Vaswani et al., 2017)."""
    waves = (width + 1) // 2
    at = torch.arange(len(prompt), dtype=prompt.dtype, device=prompt.device)
    wave = torch.arange(waves, dtype=prompt.dtype, device=prompt.device)
    angle = at[:, None] * 10_000.0 ** (-wave / waves)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)[:, :width]
