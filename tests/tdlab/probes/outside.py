"""A stranger's script: in a process of its own, without the suite's checks of shapes and types."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def in_a_process_of_its_own(script: str) -> subprocess.CompletedProcess[str]:
    """What a script prints, and what it complains of; nothing of the suite reaches it."""
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
