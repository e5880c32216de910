"""How many members there is memory for: what a step holds at once, and what the machine has."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import psutil
import torch
from torch.utils._pytree import tree_map

from synthetic_tasks.threefry import stream
from tdlab.run import Run
from tdlab.train.basis import change_of_basis
from tdlab.train.ensemble import Drawn, chance, data, draw, learn, moving, start
from tdlab.train.program import Traced

_SHARE = 4  # of the machine's memory, one part is for training
# (ours) A step holds about so many times what its prompts and parameters take. Where it would be
# within the limit even if it were so many times more, nobody needs to know exactly.
_ROUGHLY, _FAR = 32, 8
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def budget() -> int:
    """Bytes that training may take: a quarter of what this process may have at most."""
    most = psutil.virtual_memory().total
    if _CGROUP.exists() and (limit := _CGROUP.read_text().strip()).isdigit():
        most = min(most, int(limit))
    return int(most) // _SHARE


def members_within(limit: int, run: Run, wanted: int) -> int:
    """How many of ``wanted`` members like ``run`` train at once in so many bytes: at least one."""
    params = run.model.init(stream(run.seed, "init"))
    numbers = run.batch * run.task.columns * run.task.token_width
    numbers += sum(leaf.numel() for leaf in params.values())
    if wanted * numbers * run.torch_dtype.itemsize * _ROUGHLY * _FAR <= limit:
        return wanted
    alike = replace(run, seed=0, after=None, steps=1)
    return max(1, min(wanted, limit // bytes_of_step(alike)))


@lru_cache(maxsize=64)
def bytes_of_step(run: Run) -> int:
    """The most that a step of one member holds at once: what it reads, computes and keeps."""
    cpu, first = torch.device("cpu"), torch.zeros(1, dtype=torch.int64)
    its_data, axes = data([run], cpu)
    members = start([run], cpu)
    there, _ = change_of_basis(run, its_data.world, axes.world, members.params)
    members = members._replace(params=there(members.params))
    drawn: Drawn = ()
    most = 0
    if run.task.uniforms:
        blocks = chance(run)(its_data, first)
        drawing = Traced(draw(run, axes), its_data, blocks)
        most = drawing.most_bytes
        drawn = tree_map(lambda leaf: leaf[0], draw(run, axes)(its_data, blocks))
    learning = Traced(learn(run, axes, moving([run])), members, its_data, drawn, first[0])
    return max(most, learning.most_bytes)
