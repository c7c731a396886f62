"""How Sphinx builds these pages: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))
sys.path.insert(0, str(DOCS.parent))

import gradtrace  # noqa: E402  from this checkout

project = "gradtrace"
author = "the gradtrace authors"
version = release = gradtrace.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
myst_enable_extensions = ["colon_fence", "deflist", "substitution"]
myst_heading_anchors = 3
default_role = "code"  # docstrings write names in single backticks
autodoc_typehints = "none"  # signatures in full; the docstrings say what the types mean
autodoc_member_order = "bysource"
nitpicky = False
exclude_patterns = ["_build", "_ext"]

html_theme = "furo"
html_title = f"gradtrace {release}"
html_static_path: list[str] = []
