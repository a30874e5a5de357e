"""Fixtures of the tests of faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault_board import FaultBoard, make_board


@pytest.fixture
def fault_board(colour_models: dict[str, bytes], tmp_path: Path) -> FaultBoard:
    """A board with a good release at work."""
    folder = tmp_path / "board"
    folder.mkdir()
    return make_board(colour_models, folder)
