"""Hosts of MONAI bundles, each in an environment of its own that ``scripts/test.sh`` has made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import ROOT


@pytest.fixture(scope="module")
def host_work(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``host_work('deploy')``: a fresh folder to work in, with the environment of that host."""

    def work(name: str) -> Path:
        hosts = os.environ.get("GLIOMAGEN_HOSTS")
        if not hosts:
            pytest.skip("the environments of other hosts are made by scripts/test.sh without arguments")
        folder = tmp_path_factory.mktemp(name)
        made = ROOT / hosts / name / "env"
        asked = ROOT / "scripts" / name / "requirements.txt"
        assert (made / "installed.txt").read_text() == asked.read_text(), (
            f"{made} is not what {asked} asks for"
        )
        (folder / "env").symlink_to(made)
        return folder

    return work
