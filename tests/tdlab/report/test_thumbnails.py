"""Small pictures look like the large ones."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tdlab.report.thumbnails import WIDTH, in_few_colours, thumbnail


def png(width: int, height: int, mode: str = "RGBA") -> bytes:
    """White with a blue left half; transparent where it is white, if it can be."""
    image = Image.new(mode, (width, height), (255, 255, 255, 0)[: len(mode)])
    image.paste((0, 114, 178, 255)[: len(mode)], (0, 0, width // 2, height))
    file = BytesIO()
    image.save(file, format="png")
    return file.getvalue()


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(picture)).convert("RGB")).astype(int)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_few_colours_are_those_of_the_picture_on_white(mode):
    small = in_few_colours(png(300, 200, mode), "Half of it.")
    assert Image.open(BytesIO(small)).info["Description"] == "Half of it."
    found = pixels(small)
    assert found.shape == (200, 300, 3)
    assert abs(found[:, :150] - [0, 114, 178]).max() <= 8
    assert abs(found[:, 150:] - 255).max() <= 8


def test_a_thumbnail_keeps_its_shape_and_is_never_enlarged():
    assert pixels(thumbnail(png(4 * WIDTH, 1000))).shape == (250, WIDTH, 3)
    assert pixels(thumbnail(png(100, 50))).shape == (50, 100, 3)
    left, right = pixels(thumbnail(png(4 * WIDTH, 1000)))[100, [20, -20]]
    assert abs(left - [0, 114, 178]).max() <= 8
    assert abs(right - 255).max() <= 8
