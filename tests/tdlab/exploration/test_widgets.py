"""The controls move the picture; who cannot move them is not shown any."""

from types import SimpleNamespace
from typing import Any

import pytest

from tdlab.exploration import Exploration, widgets
from tdlab.exploration.widgets import _Walker, is_live
from tests.tdlab.exploration.runs import CHAIN
from tests.tdlab.runs import anew

VIEW = "application/vnd.jupyter.widget-view+json"


class Planned:
    """Three members that can be walked through, whose pictures say which they are."""

    member, prompt = 0, 2
    members = ("first", "second", "third")

    def __init__(self) -> None:
        self.drawn: list[tuple[int, ...]] = []

    def steps(self, member: int) -> tuple[int, ...]:
        return ((0, 5, 10), (0, 5, 10), (0, 2, 4))[member]

    def prompts(self, member: int) -> int:
        return (64, 5, 8)[member]

    def image(self, *chosen: int) -> bytes:
        self.drawn.append(chosen)
        return repr(chosen).encode()

    def words(self, *chosen: int) -> str:
        return f"words of {chosen}"


@pytest.fixture
def walked() -> Planned:
    return Planned()


@pytest.fixture
def walker(walked) -> Any:
    return _Walker(walked)


def shell(monkeypatch, content: Any) -> None:
    kernel = SimpleNamespace(get_parent=lambda channel: {"content": content, "channel": channel})
    monkeypatch.setattr(widgets, "get_ipython", lambda: SimpleNamespace(kernel=kernel))


def shows(walker: Any, *chosen: int) -> bool:
    return walker.image.value == repr(chosen).encode() and (
        walker.words.value == f"words of {chosen}"
    )


def test_a_front_end_that_can_be_asked_for_input_is_live(monkeypatch):
    assert not is_live()  # pytest is no kernel
    for content, live in [
        ({"allow_stdin": True}, True),
        ({"allow_stdin": False}, False),
        ({}, False),
    ]:
        shell(monkeypatch, content)
        assert is_live() is live


def test_a_live_notebook_gets_the_controls_and_keeps_the_picture(monkeypatch):
    walked = Exploration(anew([CHAIN]))
    shell(monkeypatch, {"allow_stdin": True})
    data, _ = walked._repr_mimebundle_()
    assert {VIEW, "image/png", "text/plain"} <= set(data)
    assert data["text/plain"] == repr(walked)


def test_it_starts_with_what_was_chosen_at_the_first_snapshot(walker, walked):
    assert (walker.member.value, walker.prompt.value, walker.step.value) == (0, 2, 0)
    assert [label for label, _ in walker.member.options] == list(walked.members)
    assert shows(walker, 0, 2, 0)


def test_the_picture_and_the_words_follow_the_slider_and_the_prompt(walker):
    walker.step.value = 10
    assert shows(walker, 0, 2, 10)
    walker.prompt.value = 7
    assert shows(walker, 0, 7, 10)


def test_another_member_offers_its_own_snapshots_and_prompts(walker):
    walker.step.value = 5
    walker.member.value = 1
    assert shows(walker, 1, 2, 5)
    walker.member.value = 2  # which ends before
    assert walker.step.options == (0, 2, 4)
    assert walker.play.max == 2
    assert walker.prompt.options == tuple(range(8))
    assert shows(walker, 2, 2, 4)
    walker.member.value = 0
    assert walker.step.options == (0, 5, 10)
    assert shows(walker, 0, 2, 5)


def test_another_member_is_drawn_once(walker, walked):
    walker.step.value = 10
    walker.member.value = 2
    assert walked.drawn == [(0, 2, 0), (0, 2, 10), (2, 2, 4)]


def test_a_prompt_that_the_member_does_not_have_becomes_its_last(walker):
    walker.prompt.value = 63
    walker.member.value = 1
    assert walker.prompt.value == 4
    assert shows(walker, 1, 4, 0)
