"""The snapshots of a run in one safetensors file, in which every byte is accounted for.

The header holds a hash of each snapshot and of the moment from which training goes on; the hash of
the header therefore covers them all, and each can be told apart when something is wrong.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tdlab.records.record import Damaged, File

MOMENT = "resume/"  # how the names of its leaves start
_LENGTH = 8  # bytes that say how long the header is


class Content(NamedTuple):
    """What the file holds."""

    steps: tuple[int, ...]
    params: dict[str, Tensor]  # leading axis: the steps
    moment: dict[str, Tensor]


def written(run: str, content: Content) -> tuple[File, bytes]:
    """The file for the snapshots of a run, and its bytes."""
    about = {
        "run": run,
        "steps": content.steps,
        "sha256": _hashes(content.params, len(content.steps)),
        "resume": _hash(content.moment),
        "leaves": list(content.params),  # the format has an order of its own
    }
    moment = {MOMENT + name: leaf for name, leaf in content.moment.items()}
    # Copies, because the format refuses tensors that share memory or have gaps.
    tensors = {
        name: leaf.clone(memory_format=torch.contiguous_format)
        for name, leaf in (content.params | moment).items()
    }
    data = save(tensors, {"tdlab": json.dumps(about)})
    hashed = _hash_of_header(data)
    return File(name=f"snapshots-{hashed[:12]}.safetensors", bytes=len(data), sha256=hashed), data


def read(path: Path, run: str, file: File) -> Content:
    """The snapshots of a run.

    Returns:
        What was written, every byte of it verified.

    Raises:
        Damaged: for a file that is not as it was written; the line says what is wrong first.
    """
    data = _bytes(path)
    for finding in _findings(path, run, file, data):
        raise Damaged(finding)
    content, _ = _parsed(data)
    return content


def findings(path: Path, run: str, file: File) -> list[str]:
    """All that is wrong with the file: truncated, misplaced, repeated, altered, and where."""
    try:
        return list(_findings(path, run, file, _bytes(path)))
    except Damaged as error:
        return [str(error)]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise Damaged(f"{path} is missing") from error


def _parsed(data: bytes) -> tuple[Content, dict[str, Any]]:
    length = int.from_bytes(data[:_LENGTH], "little")
    about = json.loads(json.loads(data[_LENGTH : _LENGTH + length])["__metadata__"]["tdlab"])
    leaves = load(data)
    params = {name: leaves.pop(name) for name in about["leaves"]}
    moment = {name.removeprefix(MOMENT): leaf for name, leaf in leaves.items()}
    return Content(tuple(about["steps"]), params, moment), about


def _findings(path: Path, run: str, file: File, data: bytes) -> Iterator[str]:
    if len(data) < file.bytes:
        yield f"{path} is truncated: {len(data)} bytes of {file.bytes} are left"
        return
    try:
        content, about = _parsed(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        yield f"{path} is altered: it can no longer be read ({error})"
        return
    if about["run"] != run:
        yield f"{path} is misplaced: it holds the snapshots of run {about['run']}"
    steps = content.steps
    for place, step in enumerate(steps[1:], start=1):
        if step <= steps[place - 1]:
            yield f"{path}: the snapshot at step {step} is repeated or misplaced in its list"
    if any(len(leaf) != len(steps) for leaf in content.params.values()):
        yield f"{path} is altered: it has not one snapshot for each of its {len(steps)} steps"
        return
    found = list(_of_snapshots(steps, about["sha256"], _hashes(content.params, len(steps))))
    yield from (f"{path}: {line}" for line in found)
    if _hash(content.moment) != about["resume"]:
        yield f"{path}: the moment that training goes on from is altered"
    elif not found and (len(data) != file.bytes or _hash_of_header(data) != file.sha256):
        yield f"{path} is altered in its header"


def _of_snapshots(
    steps: Sequence[int], recorded: Sequence[str], now: Sequence[str]
) -> Iterator[str]:
    place_of = {hashed: place for place, hashed in enumerate(recorded)}
    for place, step in enumerate(steps):
        if place >= len(recorded) or now[place] == recorded[place]:
            continue
        other = place_of.get(now[place])
        if other is None:
            yield f"the snapshot at step {step} is altered"
        elif now[other] == recorded[other]:
            yield f"the snapshot at step {step} is a repetition of that at step {steps[other]}"
        else:
            yield f"the snapshot at step {step} is misplaced: it is that of step {steps[other]}"


def _hashes(params: Mapping[str, Tensor], count: int) -> list[str]:
    if count == 0:
        return []
    # As bytes at once: there are more snapshots than leaves.
    rows = {name: _as_bytes(leaf).reshape(count, -1) for name, leaf in params.items()}
    return [_hash_of({name: row[place] for name, row in rows.items()}) for place in range(count)]


def _hash(leaves: Mapping[str, Tensor]) -> str:
    return _hash_of({name: _as_bytes(leaf) for name, leaf in leaves.items()})


def _hash_of(leaves: Mapping[str, np.ndarray]) -> str:
    total = sha256()
    for name in sorted(leaves):
        total.update(name.encode())
        total.update(leaves[name].data)
    return total.hexdigest()


def _as_bytes(leaf: Tensor) -> np.ndarray:
    return leaf.contiguous().view(-1).view(torch.uint8).numpy()


def _hash_of_header(data: bytes) -> str:
    return sha256(data[: _LENGTH + int.from_bytes(data[:_LENGTH], "little")]).hexdigest()
