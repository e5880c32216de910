"""The checks of the pages over a folder of reports: ``python -m tests.pages.folder reports``."""

import os
import sys
from pathlib import Path

from tests.pages import chromium
from tests.pages.visits import pages_of, visit


def main(folder: Path) -> int:
    """Prints what is wrong with each page, and then what all of them came to.

    Returns:
        The exit status: 1 if something is wrong, 2 if there was nothing to look at.
    """
    files = pages_of(folder)
    if not files:
        print(f"no pages in {folder}; make some with: make report", file=sys.stderr)
        return 2
    try:
        executable = chromium.find(os.environ)
    except chromium.Missing as missing:
        print(missing, file=sys.stderr)
        return 1 if chromium.is_required(os.environ) else 0
    with chromium.started(executable) as browser:
        visits = [visit(browser, file, folder) for file in files]
    faulty = [each for each in visits if each.external or each.faults]
    for each in faulty:
        print(each)
    external = sum(len(each.external) for each in visits)
    largest = max(visits, key=lambda each: each.megabytes)
    print(
        f"{len(visits)} pages, {external} external requests, {len(faulty)} pages with faults; "
        f"the largest is {largest.page} with {largest.megabytes:.2f} MB"
    )
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
