"""What nodes are called, and where they come from."""

from __future__ import annotations

from pathlib import PurePath

from gradtrace.graphs.types import LEAVES, Facts, op_name


def title(facts: Facts, frame: str = "") -> str:
    """The name of a node, short where the frame around it says the rest."""
    if facts.get("kind") in LEAVES or facts.get("kind") == "module":
        name = str(facts.get("name") or facts.get("module") or op_name(facts.get("op")))
        return relative(name, frame) if facts.get("kind") in LEAVES else relative(module_title(facts, name), frame)
    if facts.get("kind") in ("ops", "unreached") or not facts.get("op"):
        return str(facts.get("name") or op_name(facts.get("op")))
    return op_name(facts["op"])


def module_title(facts: Facts, name: str) -> str:
    """A module's path, its last part being `name` (which a run of repeats has changed)."""
    around = facts.get("scope") or ()
    return f"{around[-1]}.{name}" if around else name


def relative(path: str, frame: str) -> str:
    """`path` as seen from inside the module `frame`."""
    return path[len(frame) + 1 :] if frame and path.startswith(frame + ".") else path


def calls(facts: Facts) -> str | None:
    """Which calls of its module, or turns of its loop, a box stands for."""
    if not facts.get("calls"):
        return None
    (first, last), word = facts["calls"], call_word(facts)
    return f"{word} {first}" if first == last else f"{word}s {first}\u2013{last}"


def call_word(facts: Facts) -> str:
    """What one of the `calls` of a box is."""
    return "turn" if facts.get("kind") == "ops" else "call"


def place(facts: Facts) -> str | None:
    """File and line of a node's source."""
    source = facts.get("source")
    return f"{PurePath(source.file.replace(chr(92), '/')).name}:{source.line}" if source else None


def joined(*parts: str | None) -> str:
    """What is known of several facts, in one line."""
    return " \u00b7 ".join(part for part in parts if part)
