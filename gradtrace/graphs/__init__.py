"""Functions from graph to graph. Nothing here imports torch."""

from gradtrace.graphs.convert import from_networkx, to_networkx

__all__ = ["from_networkx", "to_networkx"]
