"""A slider over steps, a choice of member and prompt, and the picture that follows them."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import ipywidgets
from IPython.core.getipython import get_ipython

_FRAME = 500  # milliseconds between two steps that are played


@runtime_checkable
class Walked(Protocol):
    """What can be walked through: members, their snapshots and prompts, and a picture of each."""

    member: int  # that is shown first
    prompt: int

    @property
    def members(self) -> Sequence[str]:
        """Their names."""

    def steps(self, member: int) -> Sequence[int]:
        """The snapshots of a member."""

    def prompts(self, member: int) -> int:
        """How many prompts of a member there are."""

    def image(self, member: int, prompt: int, step: int) -> bytes:
        """A picture, as PNG."""

    def words(self, member: int, prompt: int, step: int) -> str:
        """The same in words."""


def is_live() -> bool:
    """Whether somebody sits before this notebook, who could move a slider."""
    # Front ends allow the kernel to ask for input; papermill and nbconvert do not.
    kernel = getattr(get_ipython(), "kernel", None)
    request = {} if kernel is None else kernel.get_parent("shell")
    return bool(request.get("content", {}).get("allow_stdin"))


def walker(walked: Walked) -> ipywidgets.Widget:
    """What the exploration shows to somebody who can choose; nothing is drawn twice."""
    return _Walker(walked).box


class _Walker:
    """The controls of one exploration, and what they move."""

    def __init__(self, walked: Walked) -> None:
        self.walked = walked
        members = [(name, place) for place, name in enumerate(walked.members)]
        steps, prompts = walked.steps(walked.member), range(walked.prompts(walked.member))
        self.member = _dropdown("member", members, walked.member, width="28rem")
        self.prompt = _dropdown("prompt", prompts, walked.prompt, width="12rem")
        self.step = ipywidgets.SelectionSlider(
            options=steps, description="step", layout={"width": "32rem"}
        )
        self.play = ipywidgets.Play(max=len(steps) - 1, interval=_FRAME, show_repeat=False)
        ipywidgets.jslink((self.play, "value"), (self.step, "index"))
        self.words = ipywidgets.HTML()
        self.image = ipywidgets.Image(format="png", layout={"max_width": "100%"})
        self.member.observe(self._other_member, "value")
        self._follow(draws=True)
        self._draw()

    @property
    def box(self) -> ipywidgets.Widget:
        """All of it, the controls above the picture."""
        rows = [[self.member, self.prompt], [self.play, self.step]]
        controls = [ipywidgets.HBox(row, layout={"flex_flow": "row wrap"}) for row in rows]
        return ipywidgets.VBox([*controls, self.words, self.image])

    def _follow(self, *, draws: bool) -> None:
        for control in (self.prompt, self.step):
            (control.observe if draws else control.unobserve)(self._draw, "value")

    def _other_member(self, _: Any) -> None:
        """Offers its snapshots and prompts; what was chosen stays, as far as it is there."""
        member = self.member.value
        steps, prompts = self.walked.steps(member), self.walked.prompts(member)
        nearest = min(steps, key=lambda step: abs(step - self.step.value))
        prompt = min(self.prompt.value, prompts - 1)
        self._follow(draws=False)
        self.play.max = len(steps) - 1
        self.step.options, self.prompt.options = steps, range(prompts)
        self.step.value, self.prompt.value = nearest, prompt
        self._follow(draws=True)
        self._draw()

    def _draw(self, _: Any = None) -> None:
        chosen = self.member.value, self.prompt.value, self.step.value
        self.image.value = self.walked.image(*chosen)
        self.words.value = self.walked.words(*chosen)


def _dropdown(name: str, options: Any, value: int, width: str) -> ipywidgets.Widget:
    return ipywidgets.Dropdown(
        options=options, value=value, description=name, layout={"width": width}
    )
