"""What is said to the person at the terminal."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """One line on standard error; none where the program runs without (a daemon may have closed it)."""
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
