"""Functions from graph to graph. Nothing here imports torch.

They compose: fold what was cut out, cut out of what was folded. None changes the graph that it is given.
"""

from gradtrace.graphs.changes import branches, fold_changes
from gradtrace.graphs.compare import Comparison, compare
from gradtrace.graphs.convert import from_networkx, to_networkx
from gradtrace.graphs.files import dump_graph, parse_graph, read_graph, write_graph
from gradtrace.graphs.focus import around, between, focus, mark
from gradtrace.graphs.fold import fold
from gradtrace.graphs.health import Profile, profile, with_health
from gradtrace.graphs.infer import infer_modules
from gradtrace.graphs.loops import loops
from gradtrace.graphs.paths import Paths, Way, paths
from gradtrace.graphs.prune import chains, prune, stretches
from gradtrace.graphs.unreached import Unreached, add_unreached

__all__ = [
    "Comparison",
    "Paths",
    "Profile",
    "Unreached",
    "Way",
    "add_unreached",
    "around",
    "between",
    "branches",
    "chains",
    "compare",
    "dump_graph",
    "focus",
    "fold",
    "fold_changes",
    "from_networkx",
    "infer_modules",
    "loops",
    "mark",
    "parse_graph",
    "paths",
    "profile",
    "prune",
    "read_graph",
    "stretches",
    "to_networkx",
    "with_health",
    "write_graph",
]
