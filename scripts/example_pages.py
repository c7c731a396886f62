"""Write docs/examples/: each example with its picture, and what gradtrace says of it and of its broken twin."""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
TARGET = ROOT / "docs" / "examples"

TITLES = {
    "linear_regression": "Linear regression",
    "image_recognition": "Image recognition",
    "house_prices": "House prices",
    "recommender": "Recommender",
    "tune_hyperparameters": "Tuning hyperparameters",
}

PAGE = """\
# {title}

{summary}

![The graph behind the last backward]({name}.svg)

## The program

```{{literalinclude}} ../../examples/{name}.py
:language: python
```

## As it should be

```text
{output}
```

`gradtrace check` says:

```text
{verdict}
```

## Broken

With `--broken`:

```text
{broken_output}
```

`gradtrace check` says:

```text
{broken_verdict}
```
"""


def gradtrace(*arguments: str | Path, folder: Path) -> str:
    """What a command prints."""
    run = subprocess.run(
        [sys.executable, "-m", "gradtrace", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode not in (0, 1):
        raise RuntimeError(run.stderr)
    return run.stdout.strip()


def traced(name: str, folder: Path, *options: str) -> tuple[str, str]:
    """Output and verdict of an example; its trace is left in `folder`."""
    script = folder / f"{name}.py"
    script.write_text((EXAMPLES / f"{name}.py").read_text(encoding="utf-8"), encoding="utf-8")
    if "import gradtrace" in script.read_text(encoding="utf-8"):
        run = subprocess.run(
            [sys.executable, script.name, *options], cwd=folder, capture_output=True, text=True, check=True
        )
        output = run.stdout.partition("\n\n")[0]
    else:
        output = gradtrace("run", "-q", script.name, *options, folder=folder)
    return output, gradtrace("check", f"{name}.gradtrace", folder=folder)


def summary(name: str) -> str:
    """The docstring's prose, without the commands."""
    text = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text(encoding="utf-8"))) or ""
    paragraphs = [part for part in text.split("\n\n") if not part.startswith("    ") and not part.endswith(":")]
    return "\n\n".join(paragraphs)


def write(name: str) -> None:
    """Page and picture of one example."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        output, verdict = traced(name, folder)
        gradtrace("render", f"{name}.gradtrace", "-o", TARGET / f"{name}.svg", folder=folder)
        broken_output, broken_verdict = traced(name, folder, "--broken")
    page = PAGE.format(
        name=name,
        title=TITLES[name],
        summary=summary(name),
        output=output,
        verdict=verdict,
        broken_output=broken_output,
        broken_verdict=broken_verdict,
    )
    (TARGET / f"{name}.md").write_text(page, encoding="utf-8")


def main() -> None:
    TARGET.mkdir(exist_ok=True)
    for name in sys.argv[1:] or TITLES:
        write(name)
        print(TARGET / f"{name}.md")


if __name__ == "__main__":
    main()
