"""The zoo is shared by tests of several folders; temporary files of other processes are not ours to count."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Temporary files lie in a folder of this test run's own."""
    tempfile.tempdir = str(tmp_path_factory.mktemp("temporary"))


@pytest.fixture(autouse=True)
def fresh_torch() -> Iterator[None]:
    """A test leaves gradients on; what it compiled would keep the next one's journal shut."""
    yield
    assert torch.is_grad_enabled()
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
        sys.modules["torch._dynamo.utils"].counters.clear()
