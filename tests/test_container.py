"""The Dockerfile, as far as it can be told without a container engine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import ROOT

DOCKERFILE = ROOT / "Dockerfile"


def test_it_is_linted() -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (it comes with the extra 'test')")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_what_it_copies_is_let_through() -> None:
    """A build that lacks the weights, or takes a cohort along, is noticed by users only."""
    ignored, *let_through = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored == "*"
    allowed = {line[1:] for line in let_through if line.startswith("!")}
    copied = {
        name
        for line in re.findall(r"^COPY (.+)$", DOCKERFILE.read_text(), re.MULTILINE)
        for name in line.split()[:-1]
    }
    assert copied == allowed and all((ROOT / name).exists() for name in copied)
    named = re.findall(r"configs/[\w.]+", DOCKERFILE.read_text())
    assert named and all(Path(ROOT, "bundle", name).is_file() for name in named)


def test_its_python_is_the_one_that_is_tested() -> None:
    version = re.search(r"^FROM python:(\d+\.\d+)", DOCKERFILE.read_text(), re.MULTILINE)
    assert version and f"Python {version[1]}" in (ROOT / "constraints.txt").read_text()
