"""Which pages a request for a report comes to, every value checked before any kernel starts."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from tdlab.report import notebooks
from tdlab.report.parameters import Parameter, check, declared

failed = "failed"  # the folder for what failing notebooks came to; no page may have this name


@dataclass(frozen=True, kw_only=True)
class Page:
    """One notebook with one set of parameters, and the name of the folder it becomes."""

    name: str
    notebook: Path
    given: Mapping[str, object]
    known: Mapping[str, Parameter] = field(repr=False)
    # Of a grid, if it is one of its pages.
    point: Mapping[str, object] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, object]:
        """What the notebook runs with: its own values where none was given."""
        own = {name: parameter.default for name, parameter in self.known.items()}
        return own | dict(self.given)

    @property
    def study(self) -> str | None:
        """The study that the notebook says it belongs to, in its metadata."""
        study = self._said.get("study")
        return None if study is None else str(study)

    @property
    def front(self) -> bool:
        """Whether its notebook says that it comes first in the index, and sums up the others."""
        return self._said.get("front") is True

    @property
    def _said(self) -> Mapping[str, object]:
        said: Mapping[str, object] = notebooks.read(self.notebook).metadata.get("tdlab", {})
        return said


def plan(
    wanted: Sequence[str] = (),
    given: Mapping[str, object] | None = None,
    *,
    grid: Mapping[str, str | Sequence[object]] | None = None,
    preset: str | None = None,
    device: str | None = None,
) -> list[Page]:
    """Return one page a notebook and grid point; of all our notebooks, if none is named.

    ``preset`` is a parameter like any other; ``device`` goes to the notebooks that have one.

    Raises:
        ValueError: a notebook, parameter or device that there is not, or something given twice.
        TypeError: a value is of the wrong type.
    """
    given, grid = dict(given or {}), dict(grid or {})
    options = {"preset": preset} if preset is not None else {}
    _refuse_twice("parameter", [*given, *grid, *options])
    given |= options
    paths = [notebooks.find(name) for name in wanted or notebooks.available()]
    if not paths:
        raise ValueError("no notebook is named, and none came with tdlab")
    _refuse_twice("notebook", [path.stem for path in paths])
    known = {path.stem: declared(notebooks.read(path), path.stem) for path in paths}
    for name in (*given, *grid):
        _refuse_partly_known(name, known)
    pages = []
    for path in paths:
        everywhere = {"device": device} if device and "device" in known[path.stem] else {}
        pages += _points(path, everywhere | given, grid, known[path.stem])
    _refuse_twice("page", [failed, *joined(pages), *(page.name for page in pages)])
    for wish in {device, *(page.parameters.get("device") for page in pages)}:
        _require_device(wish)
    return pages


def joined(pages: Sequence[Page]) -> dict[str, list[Page]]:
    """The pages of each notebook that are points of a grid, by the name of the page of them all."""
    grids: dict[str, list[Page]] = {}
    for page in pages:
        if page.point:
            name = f"{page.notebook.stem}-over-{'-'.join(page.point)}"
            grids.setdefault(name, []).append(page)
    return {name: points for name, points in grids.items() if len(points) > 1}


def _points(
    path: Path,
    given: Mapping[str, object],
    grid: Mapping[str, str | Sequence[object]],
    known: Mapping[str, Parameter],
) -> list[Page]:
    fixed = check(given, known, path.stem)
    check({name: values for name, values in grid.items() if name not in known}, known, path.stem)
    axes = {name: known[name].points(values) for name, values in grid.items()}
    pages = []
    for values in product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        name = "-".join([path.stem, *(f"{key}={_file_name(point[key])}" for key in point)])
        pages.append(Page(name=name, notebook=path, given=fixed | point, known=known, point=point))
    return pages


def _file_name(value: object) -> str:
    return re.sub(r"[^\w.+-]+", "_", str(value)).strip("_")


def _refuse_twice(kind: str, names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{kind} {twice[0]!r} is asked for twice; once is enough")


def _refuse_partly_known(name: str, known: Mapping[str, Mapping[str, Parameter]]) -> None:
    having = [notebook for notebook, parameters in known.items() if name in parameters]
    lacking = [notebook for notebook in known if notebook not in having]
    if having and lacking:
        raise ValueError(
            f"unknown parameter {name!r} for {', '.join(lacking)}; "
            f"name the notebooks that have it: {', '.join(having)}"
        )


def _require_device(device: object) -> None:
    if device in (None, "cpu"):
        return
    if device != "cuda":
        raise ValueError(f"no device {device!r}; there are cpu and, with an NVIDIA GPU, cuda")
    import torch  # here, because it takes seconds and most requests do without

    if not torch.cuda.is_available():
        raise ValueError("device 'cuda' is not there: torch sees no GPU; use cpu")
