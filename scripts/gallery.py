"""Write docs/gallery.md and its pictures: what `gradtrace render` makes of programs one meets."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gallery_programs as programs
import torch

import gradtrace
from gradtrace.differences import change_picture
from gradtrace.renderers import render_graph

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "gallery.md"
IMAGES = ROOT / "docs" / "images"

STEPS = 12
"""Of each program: enough for a finding to be sure."""


class Picture(NamedTuple):
    """A program, how it is drawn, and what there is to see."""

    name: str
    title: str
    text: str
    program: Callable[[], programs.Program]
    options: dict[str, Any]
    changed: bool = False


PICTURES = (
    Picture(
        "transformer",
        "A transformer, as it should be",
        "Read from the top: the loss, and the way of its gradient down to the first layer. Six equal layers are one, "
        "with the range of their gradients. Thick and dark is a large gradient, thin and pale a small one; the legend "
        "has the numbers. Dropout, views and weights are folded into what uses them.",
        programs.encoder,
        {},
    ),
    Picture(
        "cut",
        "Where the gradient dies: a transformer of 24 layers",
        "A `detach()` that was meant for a copy stands on the way of the state itself. Autograd knows nothing of what "
        "lies beyond; the trace does: nine layers and the embedding get no gradient. Red marks what took the cut "
        "value, dashed is what is missing.",
        programs.cut_transformer,
        {},
    ),
    Picture(
        "resnet",
        "Where the gradient dies: a ResNet",
        "One of sixteen blocks rounds what it hands on, as quantised networks do, but without an estimator that "
        "lets the gradient through. The dark band is on the op that hands on nothing; grey and dotted is all that "
        "gets exactly zero from there on. Each block begins as the identity, its last convolution at zero, as in "
        "many recipes: nothing is wrong with those, since the skip connections lead around.",
        programs.resnet,
        {},
    ),
    Picture(
        "unet",
        "Where the gradient dies: a U-Net",
        "The skip connections keep the outer levels alive, so that the loss falls and nobody notices that the inner "
        "ones learn nothing: the weights of one layer began a million times too small.",
        programs.unet,
        {},
    ),
    Picture(
        "gan",
        "Where the gradient dies: a GAN",
        "A discriminator that has won: its last sigmoid is saturated, and what the generator gets is a millionth.",
        programs.gan,
        {},
    ),
    Picture(
        "time",
        "Where the gradient dies: a recurrent net of 200 steps",
        "A cell that is called two hundred times is one box as long as its calls are alike. The bars are its calls, "
        "the last one on the right: the gradient of the cell's weights looks healthy, as the last calls bring it.",
        programs.recurrent,
        {},
    ),
    Picture(
        "loop",
        "Where the gradient dies: a loop of plain tensors",
        "No module is called in this loop, and still its 300 ops are few boxes: the turns that the gradient reaches, "
        "and those it does not. All use the same `decay`, and each edge says how much of its gradient comes that way.",
        programs.leaky,
        {},
    ),
    Picture(
        "vanishing",
        "Where it fades little by little",
        "Twenty sigmoids in a row. What has lost three orders of magnitude since the loss is drawn in amber, with "
        "dashed lines; no layer is to blame alone, and so the band is where the border is passed.",
        programs.sigmoids,
        {},
    ),
    Picture(
        "nan",
        "Where a NaN is born",
        "The square root of zero hands on an infinite gradient, and infinity times zero is NaN. Purple is everything "
        "that it reaches. `--depth full` shows every node of the graph.",
        programs.distance,
        {"depth": "full"},
    ),
    Picture(
        "focus",
        "One module",
        "`--focus layers.2.self_attn`: what is inside, and, dashed, what the gradient comes from and goes to.",
        programs.encoder,
        {"focus": "layers.2.self_attn"},
    ),
    Picture(
        "path",
        "All ways to one parameter",
        "`--path loss:embed.weight`: skip connections make many ways; they are counted, and the gain of the best and "
        "the worst is told.",
        programs.encoder,
        {"path": "loss:embed.weight", "depth": 2},
    ),
    Picture(
        "branch",
        "The graph changed: which branch was taken",
        "`gradtrace diff TRACE` lists the backwards at which the graph of a run was a new one; `-o changed.svg` draws "
        "what was added and what was left out.",
        programs.experts,
        {},
        changed=True,
    ),
    Picture(
        "gain",
        "Who shrinks it",
        "`--color gain`: what hands on less than it got is orange, what hands on more is violet.",
        programs.encoder,
        {"color": "gain"},
    ),
    Picture(
        "time_spent",
        "Where the backward pass spends its time",
        "`--color time`; `--color memory` does the same for the tensors that are kept for it.",
        programs.encoder,
        {"color": "time", "depth": 3},
    ),
)


def draw(picture: Picture) -> None:
    """Trace some steps of the program and draw the first backward."""
    torch.manual_seed(0)
    model, loss, parameters = picture.program()
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    with gradtrace.trace(model, on_finding="ignore") as trace:
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.autograd.backward(loss())
            optimizer.step()
    path = IMAGES / f"gallery_{picture.name}.svg"
    drawn = _changed(trace) if picture.changed else str(trace.draw(1, **picture.options))
    # Links to sources are absolute: right for one's own pictures, of no use in a book.
    path.write_text(drawn.replace(f"file://{ROOT}", "../..").replace(f"{ROOT}/", ""))


def _changed(trace: gradtrace.Trace) -> str:
    """What was new about the second graph of a run."""
    return str(render_graph(change_picture(trace.recording()), format="svg", color="change"))


def page() -> str:
    """The gallery in Markdown."""
    sections = [f"## {it.title}\n\n{it.text}\n\n![{it.title}](images/gallery_{it.name}.svg)" for it in PICTURES]
    intro = (
        "# Gallery\n\n"
        "Pictures that `gradtrace render` makes, by `scripts/gallery.py`. They follow the light or dark mode of the "
        "page they stand on. Hover over a box for all that is known about it; click to open its source."
    )
    return "\n\n".join([intro, *sections]) + "\n"


def main() -> int:
    """Write everything; with `--check` only tell whether the page is up to date."""
    if sys.argv[1:] == ["--check"]:
        return 0 if PAGE.read_text() == page() else 1
    warnings.simplefilter("ignore")
    IMAGES.mkdir(exist_ok=True)
    for picture in PICTURES:
        draw(picture)
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
