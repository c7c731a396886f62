"""Names for the kinds of arrays that rules pass around; the shape is said where they are made."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Singles: TypeAlias = NDArray[np.float32]
"""As recorded."""
Ints: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Rows: TypeAlias = NDArray[np.intp]
"""Indices into an array."""
Records: TypeAlias = NDArray[np.void]
"""Of a structured type: BACKWARD or LOOP."""
