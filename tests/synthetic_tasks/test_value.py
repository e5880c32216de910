import json
import re
from dataclasses import FrozenInstanceError, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from synthetic_tasks.value import (
    Varying,
    as_html,
    canonical,
    meant,
    program,
    require_between,
    require_choice,
    require_count,
    value,
    varying,
)


@value
class Inner:
    revision: ClassVar[int] = 3

    size: int = 2
    scale: Varying[float] = 1.5


@value
class Outer:
    inner: Inner
    rate: Varying[float] = 0.1
    names: tuple[str, ...] = ()
    pairs: tuple[tuple[int, int], ...] = field(default_factory=tuple)
    kind: str | None = None


def same(one: object, other: object) -> bool:
    return json.dumps(canonical(one)) == json.dumps(canonical(other))


def test_a_canonical_value_has_class_revision_and_what_is_not_default():
    assert canonical(Inner()) == {"type": "Inner", "revision": 3}
    assert canonical(Outer(inner=Inner(size=4), rate=0.2, pairs=((0, 1),), kind="a")) == {
        "type": "Outer",
        "revision": 0,
        "inner": {"type": "Inner", "revision": 3, "size": 4},
        "rate": 0.2,
        "pairs": [[0, 1]],
        "kind": "a",
    }


@pytest.mark.parametrize("one", [1, 1.0, np.float32(1), np.float64(1), np.int64(1), np.uint8(1)])
def test_one_is_one_however_it_is_written(one):
    assert json.dumps(canonical(one)) == "1"
    assert same(Inner(scale=one), Inner(scale=1))
    assert canonical(Outer(inner=Inner(), rate=one))["rate"] == 1


def test_numbers_that_differ_stay_different():
    numbers = [0.1, np.nextafter(0.1, 1), 1e300, 1e-300, 2.5, 2, -2, 2**70]
    assert len({json.dumps(canonical(number)) for number in numbers}) == len(numbers)


def test_a_default_said_aloud_changes_nothing():
    assert same(Inner(), Inner(size=2, scale=1.5))
    assert same(
        Outer(inner=Inner()),
        Outer(inner=Inner(), rate=0.1, names=(), pairs=(), kind=None),
    )


def test_each_field_class_and_revision_shows(monkeypatch):
    base = Outer(inner=Inner())
    others = [
        replace(base, inner=Inner(size=3)),
        replace(base, inner=Inner(scale=2)),
        replace(base, rate=0.3),
        replace(base, names=("a",)),
        replace(base, names=("a", "b")),
        replace(base, pairs=((0, 1),)),
        replace(base, kind="a"),
    ]
    seen = [json.dumps(canonical(item)) for item in [base, *others]]
    monkeypatch.setattr(Inner, "revision", 4)
    seen.append(json.dumps(canonical(base)))
    assert len(set(seen)) == len(others) + 2


def test_a_class_shows_even_where_its_fields_are_those_of_another():
    @value
    class Twin:
        revision: ClassVar[int] = 3

        size: int = 2
        scale: Varying[float] = 1.5

    assert not same(Twin(), Inner())
    assert program(Twin()) != program(Inner())


def test_a_raised_revision_shows_in_a_value_that_is_its_fields_default(monkeypatch):
    @value
    class Holder:
        inner: Inner = Inner()

    before = canonical(Holder())
    monkeypatch.setattr(Inner, "revision", 4)
    assert canonical(Holder()) != before


def test_mappings_and_sequences_are_canonical_part_by_part():
    assert canonical({"b": (1.0, [np.float64(2.5)]), 3: Inner()}) == {
        "b": [1, [2.5]],
        "3": {"type": "Inner", "revision": 3},
    }


def test_members_of_one_program_differ_in_varying_numbers_only():
    base = Outer(inner=Inner())
    assert program(base) == program(Outer(inner=Inner(scale=9.0), rate=7))
    assert hash(program(base)) == hash(program(Outer(inner=Inner(scale=9.0), rate=7)))
    others = [
        replace(base, inner=Inner(size=3)),
        replace(base, names=("a",)),
        replace(base, pairs=((0, 1),)),
        replace(base, kind="a"),
        Inner(),
    ]
    assert len({program(item) for item in [base, *others]}) == 6


def test_varying_numbers_go_by_their_names():
    assert varying(Outer(inner=Inner(), rate=0.7)) == {"rate": 0.7}
    assert varying(Inner()) == {"scale": 1.5}


def test_an_unknown_field_is_refused_with_the_nearest_known_one():
    misspelt: Any = {"sclae": 1}
    with pytest.raises(TypeError) as caught:
        Inner(**misspelt)
    assert str(caught.value) == (
        "Inner has no field 'sclae'; did you mean 'scale'? (it has: size, scale)"
    )
    assert caught.type is TypeError


def test_a_name_that_is_near_nothing_gets_the_list():
    assert meant("xyz", ["size", "scale"]) == " (it has: size, scale)"


def test_numpy_scalars_and_lists_become_plain_numbers_and_tuples():
    size: Any = np.int32(4)
    given: Any = {"rate": np.float64(0.5), "pairs": [[0, np.int64(1)]]}
    made = Outer(inner=Inner(size=size), **given)
    assert type(made.inner.size) is int
    assert type(made.rate) is float
    assert made.pairs == ((0, 1),)
    assert type(made.pairs[0][1]) is int


def test_values_are_frozen_hashable_equal_by_content_and_replaceable():
    listed: Any = ["a"]
    one, other = Outer(inner=Inner(), names=listed), Outer(inner=Inner(), names=("a",))
    assert one == other
    assert hash(one) == hash(other)
    assert replace(one, names=("b",)).names == ("b",)
    with pytest.raises(FrozenInstanceError):
        one.__setattr__("rate", 3)


def test_values_take_no_positional_arguments():
    with pytest.raises(TypeError):
        Inner(*[2])


@pytest.mark.parametrize(
    ("number", "above", "fits"),
    [(0, False, True), (0, True, False), (1, True, True), (0.5, True, True), (-0.1, False, False),
     (1.1, False, False), (float("nan"), False, False), (np.float32(0.5), False, True)],
)  # fmt: skip
def test_a_number_lies_between_its_bounds_or_is_named(number, above, fits):
    if fits:
        require_between("alpha", number, 0, 1, above=above)
        return
    with pytest.raises(ValueError, match=rf"^alpha is {number}, .* .0, 1\]$"):
        require_between("alpha", number, 0, 1, above=above)


def test_an_open_end_excludes_infinity():
    require_between("beta", 1e300, 0, float("inf"))
    with pytest.raises(ValueError, match=r"^beta is inf, but must lie in \[0, inf\)$"):
        require_between("beta", float("inf"), 0, float("inf"))


def test_the_brackets_say_which_ends_belong():
    with pytest.raises(ValueError, match=r"in \(0, 1\]$"):
        require_between("alpha", 0, 0, 1, above=True)
    with pytest.raises(ValueError, match=r"in \[0, 1\]$"):
        require_between("alpha", 2, 0, 1)


@pytest.mark.parametrize("number", [True, "3", None, 1j])
def test_what_is_no_number_is_named(number):
    with pytest.raises(TypeError, match=r"^alpha is .*, but must be a number$"):
        require_between("alpha", number, 0, 1)


@pytest.mark.parametrize("number", [True, 2.0, "3", None])
def test_what_is_no_count_is_named(number):
    with pytest.raises(TypeError, match=r"^length is .*, but must be an integer of at least 1$"):
        require_count("length", number, 1)


def test_counts_start_where_they_are_told_to():
    require_count("length", 1, 1)
    require_count("length", np.int64(4), 1)
    with pytest.raises(ValueError, match=r"^length is 0, but must be at least 1$"):
        require_count("length", 0, 1)


def test_a_choice_is_one_of_those_offered():
    require_choice("loss", "hinge", ("hinge", "logistic"))
    with pytest.raises(ValueError, match=r"^loss is 'hing', but must be one of hinge, logistic$"):
        require_choice("loss", "hing", ("hinge", "logistic"))


@pytest.mark.parametrize(
    ("item", "printed"),
    [
        (Inner(), "Inner()"),
        (Outer(inner=Inner(size=3)), "Outer(inner=Inner(size=3))"),
        (
            Outer(inner=Inner(), pairs=((1, 2),), kind="a", rate=0.1),
            "Outer(inner=Inner(), pairs=((1, 2),), kind='a')",
        ),
    ],
)
def test_a_value_prints_as_the_shortest_call_that_makes_it(item, printed):
    assert repr(item) == printed
    assert eval(printed) == item


def test_a_notebook_shows_every_field_and_what_is_not_its_default_stands_out():
    shown: Any = Outer(inner=Inner(), kind="<b>")
    html = shown._repr_html_()
    assert html == as_html(shown)
    fields = re.findall(r'<th scope="row">(\w+)</th><td>(.*?)</td>', html)
    assert dict(fields) == {
        "inner": "<strong>Inner()</strong>",
        "rate": "0.1",
        "names": "()",
        "pairs": "()",
        "kind": "<strong>&#x27;&lt;b&gt;&#x27;</strong>",
    }


def test_a_value_may_show_itself_otherwise():
    @value
    class Own:
        def _repr_html_(self) -> str:
            return "own"

    assert Own()._repr_html_() == "own"
