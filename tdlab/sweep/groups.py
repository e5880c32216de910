"""Which runs train together: ensembles of one program, and of a size that a machine is good at."""

import math
from collections.abc import Sequence

from synthetic_tasks.threefry import stream
from tdlab.run import Run
from tdlab.train import faster_path
from tdlab.train.engine import COMPILED
from tdlab.train.memory import members_within

# (ours) Members trained at once where nothing is compiled: enough to make up for the calls of
# operations, few enough to stay in the machine's caches.
MEMBERS = 16
_FEW = 2  # (ours) Fewer are not worth a thread of their own.
# (ours) Multiplications in a step of one member below which it is nothing but calls of operations:
# many members then take no longer than few.
_SMALL = 1 << 20
_MANY = 256  # (ours) of such members


def by_program(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that can be members of one ensemble; what moves may differ where they are small."""
    programs: dict[object, list[Run]] = {}
    for run in runs:
        programs.setdefault(run.program, []).append(run)
    groups: dict[object, list[Run]] = {}
    for program, alike in programs.items():
        small = _is_small(alike[0])
        for run in alike:
            moving = None if small else frozenset(run.moving)
            groups.setdefault((program, moving), []).append(run)
    return list(groups.values())


def path_of(group: Sequence[Run]) -> str:
    """The path that is faster for a group; small members gain together what one of them gains."""
    return faster_path(group[:1] if _is_small(group[0]) else group)


def ensembles(group: Sequence[Run], path: str, threads: int, limit: int) -> list[list[Run]]:
    """The group in ensembles that occupy every thread, each within ``limit`` bytes."""
    if _is_small(group[0]):
        size = min(_MANY, len(group))
    elif path == "compiled":
        size = COMPILED
    else:
        size = min(MEMBERS, max(_FEW, math.ceil(len(group) / threads)))
    size = members_within(limit, group[0], size)
    return [list(group[at : at + size]) for at in range(0, len(group), size)]


def _is_small(run: Run) -> bool:
    """Whether a step of one member is nothing but calls of operations."""
    params = run.model.init(stream(run.seed, "init"))
    weights = sum(leaf.numel() for leaf in params.values())
    return run.batch * run.task.columns * weights < _SMALL
