"""`python -m gradtrace` is the `gradtrace` command."""

from __future__ import annotations

from gradtrace.cli import main

if __name__ == "__main__":
    main()
