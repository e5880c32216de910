"""The presets of the attention-kernel study, and the runs that they ask for.

The full text of the paper was not available to us: of its settings we know two layers of width 64
with 128 hidden units and two heads, pooled by the mean. All else is ours.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from synthetic_tasks import (
    CueText,
    Digits,
    FullBatch,
    KeysAndValues,
    Pathfinder,
    Task,
    TokenRegression,
)
from synthetic_tasks.task import require_balance
from synthetic_tasks.value import require_between, require_choice, require_count, value
from tdlab.models import KERNELS, KernelLayer, Model, OneQuery, SequenceClassifier
from tdlab.optimisers import SGD, Adam, Backtracking
from tdlab.run import Run
from tdlab.schedule import At, Every
from tdlab.studies.setting import changed, shown

# Which matrices are trained, by what a table calls it.
SUBSETS = {"all": ("W_Q", "W_K", "W_V", "W_O"), "W_V": ("W_V",), "W_Q": ("W_Q",)}
# The two problems of one scalar query, by what a table calls them: values on keys (-1, 0, 1).
SCALAR = {
    "values (1, 0, 1/2), target 0.8": KeysAndValues(values=(1, 0, 0.5), wanted=0.8),
    "values (1, 1, 1), target 2": KeysAndValues(values=(1, 1, 1), wanted=2),
}

# The kernels of stage one and of stage two: each goes on from its own kernel, and from the other's.
STAGE_ONE = STAGE_TWO = ("softmax", "gaussian")


@value
class Setting:
    """What a study trains, and what it measures.

    Raises:
        ValueError: for numbers out of range.
    """

    seeds: int = 8
    first_seed: int = 0
    steps: int = 500  # of each point of the phase plot
    samples: int = 4  # N
    tokens: int = 4  # n
    width: int = 8  # D
    heads: tuple[int, ...] = (1, 2, 3, 4, 8)  # H, which sets H D / N n
    head_width: int = 4  # d
    value_width: int = 4
    query_scale: float = 1.0
    key_scale: float = 1.0
    rate_steps: int = 600  # of gradient descent with a fixed step size
    guard_scales: tuple[float, ...] = (0.1, 0.3, 1, 2, 3, 5, 10)  # of W_Q and W_K
    problems: int = 16  # for each scale of W_Q, where it is trained alone
    scales: tuple[float, ...] = (0.1, 0.5, 1, 2, 3)
    query_steps: int = 500
    starts: tuple[float, ...] = (-2, -1, 0, 0.5, 1, 1.04, 1.5, 2, 3, 4, 5, 6)  # of a scalar query
    scalar_lr: float = 0.5
    scalar_steps: int = 2000
    class_seeds: int = 5
    class_lr: float = 1e-3  # of Adam
    batch: int = 32
    class_snapshots: int = 10
    digit_steps: int = 300
    text_steps: int = 250
    text_length: int = 64  # bytes
    path_steps: int = 15  # of 256 tokens on a CPU, half a second each
    path_images: int = 4096  # to train on
    test_prompts: int = 450  # held-out digits and texts
    path_test: int = 200  # held-out images
    stage_one: str = "softmax"  # the kernel of stage one, of the runs whose planes are drawn
    land_seeds: int = 5
    land_width: int = 32  # of a classifier with 20,000 parameters
    land_hidden: int = 64
    land_steps: int = 120  # of each stage
    land_snapshots: int = 3
    land_samples: int = 64
    land_points: int = 41  # along each side of a plane
    land_random: tuple[float, float] = (-1.0, 1.0)  # from where to where, filter-normalized
    land_runs: tuple[float, float] = (-0.5, 1.5)  # in units of end minus start
    land_eigenvalues: int = 1
    land_pieces: int = 16  # of the segment from start to end

    def __post_init__(self) -> None:
        require_count("seeds", self.seeds, 2)  # one seed has no interval
        require_count("problems", self.problems, 2)
        require_count("steps", self.steps, 10)
        require_count("rate_steps", self.rate_steps, 30)
        for name in (
            *("query_steps", "scalar_steps", "digit_steps", "text_steps", "path_steps"),
            *("class_snapshots", "land_steps", "land_snapshots"),
        ):
            require_count(name, getattr(self, name), 1)
        require_between("scalar_lr", self.scalar_lr, 0, math.inf, above=True)
        require_count("class_seeds", self.class_seeds, 1)  # one seed has no interval
        require_count("land_seeds", self.land_seeds, 2)
        require_count("land_points", self.land_points, 3)
        require_count("land_eigenvalues", self.land_eigenvalues, 1)
        require_count("land_pieces", self.land_pieces, 1)
        require_count("land_samples", self.land_samples, 1)
        require_between("land_samples", self.land_samples, 1, Digits().size)
        require_count("test_prompts", self.test_prompts, 1)
        require_between("test_prompts", self.test_prompts, 1, Digits(part="test").size)
        require_count("path_test", self.path_test, 1)
        require_between("class_lr", self.class_lr, 0, math.inf, above=True)
        require_choice("stage_one", self.stage_one, tuple(KERNELS))
        for name in ("heads", "scales", "guard_scales", "starts", "land_random", "land_runs"):
            values = getattr(self, name)
            if not isinstance(values, tuple):
                raise TypeError(f"{name} is {values!r}, but must be a list of numbers")
            if len(set(values)) < max(2, len(values)):
                raise ValueError(f"{name} is {values}, but must be different values, at least two")
        for name in ("land_random", "land_runs"):
            ends = getattr(self, name)
            if len(ends) != 2 or not ends[0] < ends[1]:
                raise ValueError(f"{name} is {ends}, but must be two increasing numbers")
        # So that no scale of W_Q alone is that of both.
        require_between("key_scale", self.key_scale, 0, max(self.scales), below=True)
        for scale in self.guard_scales:
            require_between("guard_scales", scale, 0, math.inf)
        # Refuses what these refuse.
        for kernel in KERNELS:
            _ = [self.layer_runs(kernel, heads) for heads in self.heads]
            _ = self.query_runs(kernel), self.scalar_runs(kernel, next(iter(SCALAR)))
        _ = self.stage_two(STAGE_TWO[0])
        for task in (Digits(), self.text, self.pathfinder(16)):
            _ = self.classifier_runs(task, STAGE_TWO[0], self.digit_steps)
        require_balance("test_prompts", self.test_prompts, self.text)

    def _repr_html_(self) -> str:
        return shown(self)

    def layer(self, kernel: str, heads: int) -> KernelLayer:
        """The layer with this kernel and this many heads."""
        return KernelLayer(
            kernel=kernel,
            width=self.width,
            heads=heads,
            head_width=self.head_width,
            value_width=self.value_width,
            query_scale=self.query_scale,
            key_scale=self.key_scale,
        )

    def layer_runs(self, kernel: str, heads: int, subset: str = "all", **changes: Any) -> list[Run]:
        """One run a seed on random targets; ``changes`` are fields of a run."""
        require_choice("subset", subset, tuple(SUBSETS))
        run = _full_batch(self._random_targets, self.layer(kernel, heads), steps=self.steps)
        run = replace(run, trained=SUBSETS[subset], **changes)
        return self._seeded(run, self.seeds)

    def query_runs(self, kernel: str) -> dict[tuple[str, float, float], list[Run]]:
        """Runs that train W_Q alone, by targets, scale of W_Q and scale of W_K.

        A teacher differs from its student in W_Q alone, which it has at scale 1, and has the
        student's kernel. So its targets can be reached; random ones need not be. Problems of two
        kernels share tokens and matrices, but not a teacher's targets.

        Returns:
            One run a problem for each point.
        """
        largest = max(self.scales)
        grid = [("teacher", scale, self.key_scale) for scale in self.scales]
        grid += [("teacher", largest, largest), ("random", 1.0, self.key_scale)]
        return {point: list(self._query_runs(kernel, *point)) for point in grid}

    def _query_runs(
        self, kernel: str, targets: str, scale: float, key_scale: float
    ) -> Iterable[Run]:
        base = replace(self.layer(kernel, self._middle), query_scale=scale, key_scale=key_scale)
        for seed in range(self.first_seed, self.first_seed + self.problems):
            student = replace(base, shared=seed)
            teacher = replace(student, query_scale=1.0) if targets == "teacher" else None
            task = replace(self._random_targets, teacher=teacher)
            run = _full_batch(task, student, steps=self.query_steps)
            yield replace(run, trained=("W_Q",), seed=seed)

    def scalar_runs(self, kernel: str, problem: str) -> list[Run]:
        """One run a start, of a scalar query alone."""
        require_choice("problem", problem, tuple(SCALAR))
        run = _full_batch(SCALAR[problem], OneQuery(kernel=kernel), steps=self.scalar_steps)
        run = replace(run, loss="squared", optimiser=SGD(lr=self.scalar_lr))
        return [replace(run, model=OneQuery(kernel=kernel, start=start)) for start in self.starts]

    @property
    def text(self) -> CueText:
        """The byte-level text task, with few enough words to be learned in few steps."""
        return CueText(length=self.text_length, neutral=20, cues=3)

    def pathfinder(self, side: int) -> Pathfinder:
        """Images to train on, with long paths: what surrounds the ends says little about them."""
        return Pathfinder(side=side, size=self.path_images, path=24)

    def classifier_runs(self, task: Task, kernel: str, steps: int) -> list[Run]:
        """One run a seed of the two-layer classifier."""
        run = Run(
            task=task,
            model=SequenceClassifier(
                kernel=kernel, token_width=task.token_width, columns=task.columns
            ),
            loss="logistic",
            optimiser=Adam(lr=self.class_lr),
            batch=self.batch,
            steps=steps,
            snapshots=Every(stride=max(1, math.ceil(steps / self.class_snapshots))),
        )
        return self._seeded(run, self.class_seeds)

    def stage_two(self, kernel: str) -> list[Run]:
        """One run a seed of a smaller classifier on digits, after one with the stage-one kernel."""
        model = SequenceClassifier(
            kernel=self.stage_one, width=self.land_width, hidden=self.land_hidden
        )
        stage_one = Run(
            task=Digits(),
            model=model,
            loss="logistic",
            optimiser=Adam(lr=self.class_lr),
            batch=self.batch,
            steps=self.land_steps,
            snapshots=At(at=()),
        )
        return [
            replace(
                each,
                model=replace(model, kernel=kernel),
                after=each,
                snapshots=Every(stride=max(1, math.ceil(self.land_steps / self.land_snapshots))),
            )
            for each in self._seeded(stage_one, self.land_seeds)
        ]

    def _seeded(self, run: Run, seeds: int) -> list[Run]:
        return [replace(run, seed=self.first_seed + place) for place in range(seeds)]

    @property
    def _middle(self) -> int:
        """The fewest heads with H D >= 2 N n, or the most there are."""
        enough = [h for h in sorted(self.heads) if h * self.width >= 2 * self.samples * self.tokens]
        return enough[0] if enough else max(self.heads)

    @property
    def _random_targets(self) -> TokenRegression:
        return TokenRegression(samples=self.samples, tokens=self.tokens, width=self.width)


def _full_batch(task: TokenRegression | KeysAndValues, model: Model, steps: int) -> Run:
    """Gradient descent in float64 on all samples of the task, step sizes by backtracking."""
    whole: Task = FullBatch(of=task)
    return Run(
        task=whole,
        model=model,
        loss="token_squared",
        optimiser=Backtracking(),
        batch=whole.balance,
        dtype="float64",
        steps=steps,
        snapshots=At(at=()),
    )


PRESETS = {
    "paper": Setting(),
    # Fewer seeds, points and steps: minutes become seconds.
    "quick": Setting(
        seeds=4,
        steps=250,
        heads=(1, 2, 4),
        rate_steps=200,
        problems=8,
        scales=(0.1, 1, 2, 3),
        query_steps=200,
        scalar_steps=400,
        class_seeds=1,
        batch=16,
        class_snapshots=4,
        digit_steps=250,
        text_steps=250,
        text_length=32,
        path_steps=10,
        path_images=512,
        test_prompts=64,
        path_test=32,
        land_seeds=2,
        land_steps=40,
        land_snapshots=1,
        land_samples=32,
        land_points=13,
        land_pieces=8,
    ),
}


def setting(preset: str = "quick", **changes: Any) -> Setting:
    """The preset with those fields changed that are not ``None``, as ``changed`` does it."""
    return changed(PRESETS, preset, changes)
