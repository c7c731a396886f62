"""What every test finds around it."""

from __future__ import annotations

import os

# Before torch is imported: workers of a parallel run share the cores, and results must not depend on how many there are.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["pytester"]
