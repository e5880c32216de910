"""Sets of tasks: which ordered pairs of patterns a model is trained on, and whether they cover."""

from synthetic_tasks.value import require_choice

Pair = tuple[int, int]  # (the pattern labelled +1, the pattern labelled -1)


def task_set(name: str | tuple[Pair, ...], count: int) -> tuple[Pair, ...]:
    """The ordered pairs of ``count`` patterns that a name stands for; a list is only checked."""
    everything = tuple((a, b) for a in range(count) for b in range(count) if a != b)
    if not isinstance(name, str):
        _check_pairs("tasks", name, count)
        return name
    require_choice("tasks", name, ("cyclic", "all", "unseen"))
    cyclic = tuple((a, (a + 1) % count) for a in range(count))
    chosen = {"cyclic": cyclic, "all": everything}
    return chosen.get(name) or tuple(pair for pair in everything if pair not in cyclic)


def check_coverage(pairs: tuple[Pair, ...], count: int) -> None:
    """Raises unless the set shows each of ``count`` patterns with both labels equally often."""
    for j in range(count):
        plus, minus = sum(a == j for a, _ in pairs), sum(b == j for _, b in pairs)
        if plus == 0 or plus != minus:
            raise ValueError(
                f"the task set shows pattern {j} {plus} times as +1 and {minus} times as -1, but "
                'must show each pattern with both labels equally often (or say coverage="violated")'
            )


def check_disjoint(name: str, pairs: tuple[Pair, ...], count: int) -> None:
    """Raises unless these are pairs of ``count`` patterns of which none occurs twice."""
    _check_pairs(name, pairs, count)
    flat = [j for pair in pairs for j in pair]
    if len(set(flat)) < len(flat):
        raise ValueError(f"{name} is {pairs}, but no pattern may occur twice")


def _check_pairs(name: str, pairs: object, count: int) -> None:
    if not isinstance(pairs, tuple):
        raise TypeError(f"{name} is {pairs!r}, but must be a name or a list of pairs")
    for pair in pairs:
        if not _is_pair(pair, count):
            raise ValueError(
                f"{name} hold {pair}, but each must be an ordered pair of two patterns "
                f"in 0..{count - 1}"
            )
    if not pairs or len(set(pairs)) != len(pairs):
        raise ValueError(f"{name} are {pairs}, but must be distinct pairs, at least one")


def _is_pair(pair: object, count: int) -> bool:
    if not isinstance(pair, tuple) or len(pair) != 2 or pair[0] == pair[1]:
        return False
    return all(isinstance(j, int) and 0 <= j < count for j in pair)
