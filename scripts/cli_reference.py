"""Write docs/cli.md from the help texts of the commands; with --check, only say whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gradtrace.cli import COMMANDS, cli

TARGET = Path(__file__).parent.parent / "docs" / "cli.md"

HEAD = """\
# Command line

Standard output is the answer, standard error everything else. Exit codes: 0 clean, 1 findings, 2 usage or unreadable
input; `run` hands on the program's own. `NO_COLOR` is honoured. A TRACE is a file or a folder of ranks. Made from
`--help` by `scripts/cli_reference.py`.

Completion of commands and options: put the line for your shell in its start-up file.

| shell | line |
| --- | --- |
| bash | `eval "$(_GRADTRACE_COMPLETE=bash_source gradtrace)"` |
| zsh | `eval "$(_GRADTRACE_COMPLETE=zsh_source gradtrace)"` |
| fish | `_GRADTRACE_COMPLETE=fish_source gradtrace \\| source` |
"""


def reference() -> str:
    """The whole page."""
    parent = click.Context(cli, info_name="gradtrace", **cli.context_settings)
    parts = [HEAD]
    for name in COMMANDS:
        command = cli.get_command(parent, name)
        if command is None:
            raise ValueError(f"command {name} is listed and cannot be loaded")
        context = click.Context(command, info_name=name, parent=parent, terminal_width=100, max_content_width=100)
        parts.append(f"## gradtrace {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def main() -> int:
    if "--check" in sys.argv[1:]:
        if TARGET.read_text("utf-8") == reference():
            return 0
        print(f"{TARGET} is out of date; run: make docs", file=sys.stderr)
        return 1
    TARGET.write_text(reference(), "utf-8")
    print(TARGET)
    return 0


if __name__ == "__main__":
    sys.exit(main())
