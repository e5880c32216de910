"""The README in parts: its commands, its Python, and that Python as far as a test runs it."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
PYTHON = [text for language, text in FENCED if language == "python"]
TEXT = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
INLINE = re.findall(r"`([^`\n]+)`", TEXT)
# A command line, up to the two spaces before what it is for.
LINES = [
    line.split("  ")[0] for language, text in FENCED if not language for line in text.split("\n")
]
COMMANDS = [
    line.strip() for line in [*LINES, *INLINE] if re.match(r"(tdlab|make|papermill) ", line)
]

# The README trains for minutes' worth of insight, a test only as far as the lines run.
SHORTER = {
    "steps=200)": "steps=8)",
    "walk.at(200)": "walk.at(8)",
    '"steps": 400': '"steps": 8',
    'setting("quick", seeds=4, ': 'setting("quick", seeds=2, steps=8, ',
}


def program() -> str:
    """All of its Python in the order in which it is read, with less to train."""
    lines = "\n".join(PYTHON)
    for wanted, shorter in SHORTER.items():
        assert lines.count(wanted) == 1, wanted
        lines = lines.replace(wanted, shorter)
    return lines
