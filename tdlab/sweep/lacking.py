"""What a store lacks of the runs that are asked for, and of those that these start after."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from tdlab.records import Damaged
from tdlab.run import Run
from tdlab.schedule import At
from tdlab.store import Store
from tdlab.sweep.groups import by_program, path_of
from tdlab.trajectory import Standing, asked

# Each run as it is to be trained, with the step from which on, and what there is of it.
Lacking = dict[Run, tuple[int, Standing | None]]


def requested(runs: Sequence[Run]) -> list[Run]:
    """All that is asked of each id, as one run: of these runs and of those before them."""
    of_id: dict[str, list[Run]] = {}
    queue = list(runs)
    for run in queue:
        of_id.setdefault(run.id, []).append(run)
        if run.after is not None:
            queue.append(run.after)
    return [_together(each) for each in of_id.values()]


def lacking(
    requests: Sequence[Run],
    wanted: set[str],
    store: Store,
    on_damage: Callable[[Run, Damaged], None],
) -> tuple[Lacking, dict[str, Standing]]:
    """What is to be trained so that the wanted runs are all there.

    ``on_damage`` hears of runs that can be neither read nor gone on with.

    Returns:
        What is to be trained, and where those stand, by their ids, that lack nothing.
    """
    missing: Lacking = {}
    there: dict[str, Standing] = {}
    needed = set(wanted)
    for run in sorted(requests, key=_depth, reverse=True):
        if run.id not in needed:
            continue
        try:
            standing = store.standing(run)
        except Damaged as error:
            on_damage(run, error)
            continue
        first = 0 if standing is None else standing.lacks(run)
        if standing is not None and first is None:
            there[run.id] = standing
            continue
        if standing is not None and first == 0:  # a snapshot is missing that was passed by
            further = replace(run, steps=max(run.steps, standing.taken))
            missing[_seen_at(further, {*standing.steps, *asked(run)})] = (0, standing)
        else:
            missing[run] = (first or 0, standing)
        if run.after is not None:
            needed.add(run.after.id)
    return missing, there


def in_order(missing: Lacking) -> list[Lacking]:
    """The same in parts, of which none holds a run that starts after one of a later part."""
    waiting = {run.id: 0 for run in missing}  # how many wait for each, in the longest row
    for run in sorted(missing, key=_depth, reverse=True):
        if run.after is not None and run.after.id in waiting:
            waiting[run.after.id] = max(waiting[run.after.id], waiting[run.id] + 1)
    return [
        {run: its for run, its in missing.items() if waiting[run.id] == count}
        for count in sorted(set(waiting.values()), reverse=True)
    ]


def paths(requests: Sequence[Run], path: str) -> dict[str, str]:
    """The path of each run, by its id: decided by all that is asked for, done or not."""
    # So that a sweep that goes on takes those that it took when it began.
    return {
        run.id: its
        for group in by_program(requests)
        for its in [path_of(group) if path == "auto" else path]
        for run in group
    }


def _together(runs: Sequence[Run]) -> Run:
    """One run that asks for all that these runs of one id ask for."""
    longest = max(runs, key=lambda run: run.steps)
    if len(runs) == 1:
        return longest
    return _seen_at(longest, {step for run in runs for step in asked(run)})


def _seen_at(run: Run, steps: Iterable[int]) -> Run:
    """The run with snapshots at these steps, by its own schedule if that has them all."""
    wanted = {*steps}
    if wanted <= {*asked(run)}:
        return run
    return replace(run, snapshots=At(at=tuple(sorted(wanted))))


def _depth(run: Run) -> int:
    return 0 if run.after is None else 1 + _depth(run.after)
