"""What a figure shows, in sentences that give its numbers, for who cannot see it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from matplotlib.figure import Figure

from tdlab.figures.seen import Panel, dashed_keys, panels
from tdlab.figures.series import Series

_HARDLY = 0.05  # (ours) a change by this share or less is hardly one
LIMIT = 600  # characters; a screen reader cannot skip through them


def alt(figure: Figure) -> str:
    """What is drawn, where each series of each panel leads, and what the theory says.

    Panels of the same labels are told together where there are too many to tell each, from the
    least to the largest value among them; those for which there is still no room are counted.

    Returns:
        The label of the figure, which says what it is of, and sentences with numbers.
    """
    title = str(figure.get_label())
    closing = [*_closing(dashed_keys(figure))]
    each = [[panel] for panel in panels(figure) if panel.series]
    told = [*_sentences(each)]
    if _length(title, *told, *closing) > LIMIT:
        told = [*_sentences(_alike(each))]
    return " ".join([title, *_shortened(told, LIMIT - _length(title, *closing)), *closing])


def _length(*sentences: str) -> int:
    return len(" ".join(sentences))


def _shortened(told: Sequence[str], room: int) -> list[str]:
    """As much of the sentences as there is room for, and how many panels more there are."""
    if _length("", *told) <= room:
        return [*told]
    kept: list[str] = []
    for sentence in told:
        left = room - _length("", *kept, "", *_more(len(told) - len(kept)))
        shorter = _cut(sentence, left, least=0 if kept else 1)
        kept += [shorter] if shorter else []
        if shorter != sentence:
            break
    return [*kept, *_more(len(told) - len(kept))]


def _cut(sentence: str, room: int, least: int) -> str:
    """As many parts of a sentence as there is room for, if not the whole, and how many more."""
    parts = sentence.removesuffix(".").split("; ")
    if len(sentence) <= room or len(parts) == least:
        return sentence
    kept = len(parts) - 1
    while kept > least and len("; ".join(parts[:kept])) + len("; 10 more.") > room:
        kept -= 1
    if kept == 0:
        return ""
    return "; ".join([*parts[:kept], f"{len(parts) - kept} more."])


def _more(missing: int) -> list[str]:
    return [f"{missing} more {'panel' if missing == 1 else 'panels'}."] if missing else []


def _closing(keys: Iterable[str]) -> Iterator[str]:
    """What the legend says about the theory, beyond that it is the theory."""
    for key in keys:
        name, _, about = key.partition(": ")
        if about:
            yield f"Dashed, the {name}: {about}."


def _alike(each: Sequence[Sequence[Panel]]) -> list[list[Panel]]:
    """Panels with the same labels and names together, at the place of the first of them."""
    found: dict[tuple[object, ...], list[Panel]] = {}
    for (panel,) in each:
        names = tuple(series.name for series in panel.series)
        found.setdefault((panel.value, panel.along, names), []).append(panel)
    return [*found.values()]


def _sentences(groups: Sequence[Sequence[Panel]]) -> Iterator[str]:
    """One of each group; what it is drawn against is said where it is another than before."""
    before = ""
    for group in groups:
        first = group[0]
        against = f" against {first.along}, {first.span}" if first.span and first.along else ""
        told = "; ".join(_parts(group))
        head = ": ".join(filter(None, [_titles(group), first.value]))
        yield _capital(f"{head}{against if against != before else ''}: {told}.")
        before = against


def _titles(group: Sequence[Panel]) -> str:
    titles = [*dict.fromkeys(panel.title for panel in group)]
    if len(group) == 1:
        return titles[0]
    return f"{len(group)} panels, {titles[0]} to {titles[-1]}" if titles[0] else ""


def _parts(group: Sequence[Panel]) -> Iterator[str]:
    """The series of a group, those that tell of the same part after its name."""
    parts: dict[str, dict[tuple[str, int], list[Series]]] = {}
    for panel in group:
        seen: Counter[tuple[str, str]] = Counter()
        for series in panel.series:
            nth = seen[series.part, series.name]  # of one name in one panel
            seen[series.part, series.name] += 1
            parts.setdefault(series.part, {}).setdefault((series.name, nth), []).append(series)
    for part, its in parts.items():
        told = ", ".join(_told(name, each, group[0].say) for (name, _), each in its.items())
        yield f"{part}: {told}" if part else told


def _told(name: str, each: Sequence[Series], say: Callable[[float], str]) -> str:
    """From where to where one of these leads, or from what range to what range all of them do."""
    remarks = {series.remark for series in each}
    remark = remarks.pop() if len(remarks) == 1 else ""
    if not each[0].values:
        return f"{name} {remark}".strip()
    first, last = (_range([series.values[at] for series in each], say) for at in (0, -1))
    level = all(len(series.values) == 1 for series in each)
    how = each[0].how or ("at" if name[-1:].isdigit() else "")  # or two numbers would meet
    lead = f"{how} {first}" if level else f"{_goes(each)}from {first} to {last}"
    return f"{name} {lead.strip()}{f' ({remark})' if remark else ''}".strip()


def _goes(each: Sequence[Series]) -> str:
    """Whether all of these go up, go down, or hardly move; nothing where they differ."""
    ways = {_way(*series.values) if series.moves else "" for series in each}
    return ways.pop() if len(ways) == 1 else ""


def _way(first: float, last: float) -> str:
    if abs(last - first) <= _HARDLY * max(abs(first), abs(last)):
        return "nearly level, "
    return "up " if last > first else "down "


def _range(values: Sequence[float], say: Callable[[float], str]) -> str:
    return "–".join(dict.fromkeys(say(value) for value in (min(values), max(values))))


def _capital(text: str) -> str:
    """A Greek letter is a symbol, which has no capital."""
    return text[:1].upper() + text[1:] if text[:1].isascii() else text
