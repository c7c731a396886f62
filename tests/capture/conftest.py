"""The zoo is shared by tests of several folders; temporary files of other processes are not ours to count."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Temporary files lie in a folder of this test run's own."""
    tempfile.tempdir = str(tmp_path_factory.mktemp("temporary"))
