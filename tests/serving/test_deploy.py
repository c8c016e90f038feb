"""The MONAI Deploy application, run as docs/deploy.md says: the very files that ``inferring`` writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, bundle_run

from gliomagen.files import read_json
from gliomagen.labels import CONTRASTS
from gliomagen.volume import Volume, read_volume, write_volume

OPTIONS = {"label_convention": "prepared", "steps": 2, "seed": 3, "device": "cpu", "threads": 1}


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """A whole head on the weights' own grid, and one turned round, of other voxels."""
    head = np.zeros((64, 64, 48), np.uint8)
    head[8:56, 6:58, 6:42] = 1
    head[20:34, 22:36, 16:28] = 3
    head[25:30, 26:32, 20:25] = 4
    write_volume(tmp_path / "masks" / "plain.nii.gz", Volume(data=head, affine=np.diag([3.0, 3.0, 3.0, 1.0])))
    turned = Volume(data=head[::-1, ::-1, 4:], affine=np.diag([-2.5, -2.5, 3.0, 1.0]))
    write_volume(tmp_path / "masks" / "turned.nii.gz", turned)
    return tmp_path / "masks"


def deploy(work: Path, masks: Path, output: Path, overlay: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "scripts" / "deploy" / "run.sh"), str(masks), str(output), str(overlay)]
    elsewhere = os.pathsep.join(sys.path)  # another environment's libraries, which must not come first
    environment = {**os.environ, "DEPLOY_WORK": str(work), "PYTHONPATH": elsewhere}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_the_application_gives_what_inferring_gives(
    host_work: Callable[[str], Path], masks: Path, tmp_path: Path
) -> None:
    """A hospital's application that flips, scales or cuts to whole numbers would give other scans than the study's."""
    work = host_work("deploy")
    overlay = tmp_path / "options.yaml"
    overlay.write_text("".join(f"{name}: {value}\n" for name, value in OPTIONS.items() if name != "device"))
    out, expected = tmp_path / "deployed", tmp_path / "expected"
    done = deploy(work, masks, out, overlay)
    assert done.returncode == 0, done.stderr[-3000:]
    made = bundle_run("inferring", "inference.yaml", dataset_dir=masks, output_dir=expected, **OPTIONS)
    assert made.returncode == 0, made.stderr
    for case in ("plain", "turned"):
        for contrast in CONTRASTS:
            name = f"{case}/{case}-{contrast}.nii.gz"
            ours, theirs = read_volume(expected / name), read_volume(out / name)
            assert theirs.data.dtype == np.float32 and np.array_equal(ours.affine, theirs.affine)
            np.testing.assert_allclose(theirs.data, ours.data, rtol=0, atol=1e-4)
            assert theirs.data.std() > 0.05
        told, asked = read_json(out / case / f"{case}.json"), read_json(expected / case / f"{case}.json")
        assert {**told, "torch": None} == {**asked, "torch": None}

    before = (out / "plain" / "plain-t1c.nii.gz").stat().st_mtime_ns
    (out / "turned" / "turned.json").unlink()
    assert deploy(work, masks, out, overlay).returncode == 0
    assert (out / "turned" / "turned.json").is_file(), "an unfinished case is made again"
    assert (out / "plain" / "plain-t1c.nii.gz").stat().st_mtime_ns == before, "and a finished one is not"

    wrong = Volume(data=np.full((16, 16, 16), 9, np.uint8), affine=np.eye(4))
    write_volume(masks / "wrong.nii.gz", wrong)
    refused = deploy(work, masks, out, overlay)
    assert refused.returncode != 0 and "wrong.nii.gz" in refused.stderr.splitlines()[-1]
