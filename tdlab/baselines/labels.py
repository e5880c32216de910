"""What counts as a label."""

from torch import Tensor


def check_label(label: Tensor) -> None:
    """Refuses what is not a label.

    Raises:
        ValueError: if a label is not +1 or -1.
    """
    if (wrong := label[label.abs() != 1]).numel():
        raise ValueError(f"a label is {wrong[0]:g}; labels are +1 or -1")
