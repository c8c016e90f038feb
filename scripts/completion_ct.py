"""Another body part by configuration alone: abdominal CT phantoms, a small generator of them, volumes completed by it.

python scripts/completion_ct.py [--work FOLDER] [--max_steps N]

Writes ``bundle/docs/completion_ct.png`` and the figures of the page's part on CT. Rerunning continues.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from completion.measures import Completed, exact, read_completed, similarity
from completion.page import replaced, table
from completion.settings import CONFIGS
from gliomagen.cohort.datalist import read_cohort
from gliomagen.files import written_whole
from quality.runs import run

ROOT = CONFIGS.parents[1]
CT = ["ct"]
SETTINGS: dict[str, dict[str, Any]] = {
    "label map alone": {"task": "base"},
    "its middle slice": {"task": "informed_slice", "position": [0.5]},
    "5 of its slices": {"task": "informed_slice", "position": [0.1, 0.3, 0.5, 0.7, 0.9]},
}


def main() -> None:
    """Trains, completes, draws, writes the page's part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("completion_ct"))
    parser.add_argument("--max_steps", type=int, default=1000)
    parser.add_argument("--page", type=Path, default=CONFIGS.parent / "docs" / "completion.md")
    options = parser.parse_args()
    work, log = options.work.absolute(), options.work / "log.txt"
    phantoms = ROOT / "scripts" / "completion" / "ct_phantom.py"
    if not (work / "cohort" / "cohort.json").is_file():
        command = [sys.executable, str(phantoms), str(work / "scans"), "--patients", "100", "--size"]
        subprocess.run([*command, *("80", "64", "48")], check=True)
        run(
            *("preparing", ["prepare", "ct"], log),
            dataset_dir=str(work / "scans"),
            output_dir=str(work / "cohort"),
            spatial_size=[80, 64, 48],
            voxel_mm=[5.0, 5.0, 5.0],
            validation_fraction=0.16,
        )
    run(
        *("training", ["train"], log),
        dataset_dir=str(work / "cohort"),
        output_dir=str(work / "run"),
        contrasts=CT,
        max_steps=options.max_steps,
        decay_from=options.max_steps // 3,
        cooldown=options.max_steps // 4,
        augment=0,
    )
    entries = {str(entry["case"]): entry for entry in read_cohort(work / "cohort").validation}
    found: dict[str, list[Completed]] = {}
    for name, asked in SETTINGS.items():
        folder = work / "completed" / name
        run(
            *("completing", ["complete"], log),
            dataset_dir=str(work / "cohort"),
            output_dir=str(folder),
            weights=str(work / "run" / "model.pt"),
            num_workers=0,
            **asked,
        )
        found[name] = [read_completed(folder, case, entry, CT) for case, entry in entries.items()]
    _draw(options.page.with_name("completion_ct.png"), found)
    replaced(options.page, "ct", _told(found, options.max_steps))


def _told(found: dict[str, list[Completed]], max_steps: int) -> str:
    left_out = [
        np.logical_or.reduce([c.given.any(0) for c in cases]) for cases in zip(*found.values(), strict=True)
    ]
    lines = []
    for name, cases in found.items():
        scores = [similarity(case, out, None) for case, out in zip(cases, left_out, strict=True)]
        lines.append(
            [
                name,
                *(
                    f"{np.mean([row[key][0] for row in scores]):.{d}f}"
                    for key, d in (("psnr", 2), ("ssim", 3))
                ),
            ]
        )
    told = [exact(case) for cases in found.values() for case in cases]
    return (
        f"`python scripts/completion_ct.py --max_steps {max_steps}`\n\n{len(next(iter(found.values())))} held-out phantoms; voxels "
        f"that a scan gave came back bit for bit in {sum(map(bool, told))} of {len(told)}. Over the body without the slices that "
        f"any setting is given:\n\n{table(['given', 'PSNR, dB', 'SSIM'], lines)}"
    )


def _draw(path: Path, found: dict[str, list[Completed]]) -> None:
    """A column for each setting; axial through the middle, which two of them are given, and below it, and coronal."""
    first = {name: cases[0] for name, cases in found.items()}
    scan = next(iter(first.values()))
    columns = [("scan", scan.true[0]), *((name, case.made[0]) for name, case in first.items())]
    inside = np.flatnonzero((scan.true_label > 0).any((0, 1)))
    at = int(inside[0] + 0.62 * (inside[-1] - inside[0]))
    figure, axes = plt.subplots(3, len(columns) + 1, figsize=(1.9 * (len(columns) + 1), 5.2), squeeze=False)
    for column, (title, image) in enumerate(
        [("label map", scan.true_label / scan.true_label.max()), *columns]
    ):
        axes[0, column].set_title(title, fontsize=8)
        colours = {"cmap": "gray" if column else "viridis", "vmin": 0, "vmax": 1}
        side = image.shape[1] // 2
        views = image[:, :, at], image[:, :, at - 8], image[:, side + 3, :]
        for axis, view in zip(axes[:, column], views, strict=True):
            axis.imshow(
                np.flip(view.T, (0, 1)), **colours
            )  # right side of the body on the left, front or head up
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, name in zip(axes[:, 0], ("axial", "axial", "coronal"), strict=True):
        axis.set_ylabel(name, fontsize=8)
    figure.tight_layout(pad=0.3)
    with written_whole(path) as beside:
        figure.savefig(beside, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
