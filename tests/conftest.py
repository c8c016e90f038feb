"""Fixtures that many tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import write_prepared_cohort


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared cohort of six training cases and two validation cases, 16x16x16."""
    return write_prepared_cohort(tmp_path_factory.mktemp("cohort"), training=6, validation=2)
