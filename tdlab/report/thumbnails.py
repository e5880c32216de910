"""Pictures of lines and words made small, for where many are seen, or all are kept."""

from io import BytesIO

from PIL import Image
from PIL.PngImagePlugin import PngInfo

WIDTH = 640  # in pixels: twice as many as an index shows


def in_few_colours(picture: bytes, description: str) -> bytes:
    """A PNG at a third of its size, which looks the same and carries what it shows in words."""
    return _few(_on_white(picture), description)


def thumbnail(picture: bytes) -> bytes:
    """A PNG of ``WIDTH`` pixels across, or fewer where the picture has fewer.

    Returns:
        The content of a file.

    Raises:
        UnidentifiedImageError: for what is no picture.
    """
    image = _on_white(picture)
    width = min(WIDTH, image.width)
    return _few(image.resize((width, round(image.height * width / image.width))))


def _on_white(picture: bytes) -> Image.Image:
    image = Image.open(BytesIO(picture)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _few(image: Image.Image, description: str = "") -> bytes:
    file, words = BytesIO(), PngInfo()
    words.add_text("Description", description)
    few = image.quantize(64, Image.Quantize.FASTOCTREE)
    few.save(file, format="png", optimize=True, pnginfo=words)
    return file.getvalue()
