"""What the denoiser's features show of a slice: principal components and clusters, block by block and time by time.

python scripts/fewlabel_pictures.py COHORT --weights WEIGHTS [--case CASE] [--out FILE]

COHORT: prepared. WEIGHTS: of the 2-D generator. Writes ``bundle/docs/fewlabel-features.png``: for each decoder block (rows) and time of
the noise (columns) the first three principal components of the features in the head as red, green and blue, and eight clusters
(k-means), as in the source (Baranchuk et al. 2022). Nobody told the network where anything is.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from fewlabel.arms import Arms
from gliomagen import BUNDLE_ROOT
from gliomagen.cohort.datalist import datalist
from gliomagen.fewlabel.cases import read_case
from gliomagen.fewlabel.features import block_names
from gliomagen.fewlabel.methods import VoxelMethod
from gliomagen.files import written_whole
from gliomagen.labels import HEAD
from gliomagen.provenance import read_card

TIMES = (0.05, 0.2, 0.5, 0.8)
CLUSTERS = 8


def main() -> None:
    """Makes the features, draws them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument(
        "--case", help="of the validation section; the one with the largest lesion if not given"
    )
    parser.add_argument("--out", type=Path, default=Path(BUNDLE_ROOT) / "docs" / "fewlabel-features.png")
    options = parser.parse_args()
    contrasts = read_card(options.weights)["geometry"]["contrasts"]
    entries = datalist(options.cohort, "validation", contrasts)
    cases = [
        read_case(entry, contrasts, labelled=True)
        for entry in entries
        if options.case in (None, entry["case"])
    ]
    slices = [sample for case in cases for sample in case.samples(2)]
    sample = max(slices, key=lambda each: int((each.label > HEAD).sum()))
    method = Arms(options.weights).features([], 0)
    assert isinstance(method, VoxelMethod) and method.features is not None
    blocks = block_names(method.features.network)
    features = method.features.of({time: blocks for time in TIMES})
    greys = None if sample.greys is None else sample.greys[None]
    maps = features(sample.image[None], [sample.name], greys=greys, position=torch.tensor([sample.position]))[
        0
    ]
    voxels = (sample.image > 0).any(0).nonzero()
    rows = iter(maps.each(voxels))
    figure, panels = plt.subplots(
        len(blocks),
        1 + 2 * len(TIMES),
        figsize=(1.5 * (1 + 2 * len(TIMES)), 1.6 * len(blocks)),
        layout="constrained",
    )
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
        panel.set_facecolor("black")
    for column, time in enumerate(TIMES):
        for row, block in enumerate(blocks):
            values = next(rows).numpy()
            for offset, picture in enumerate((_components(values), _clusters(values))):
                panel = panels[row, 1 + 2 * column + offset]
                panel.imshow(_placed(picture, voxels.numpy(), sample.label.shape))
                if not row:
                    panel.set_title(f"{('components', 'clusters')[offset]}, t = {time:g}", fontsize=8)
            panels[row, 0].set_ylabel(block, fontsize=8)
    shown: list[tuple[str, NDArray[Any]]] = [
        *((name, image.numpy()) for name, image in zip(contrasts, sample.image, strict=True)),
        ("labels", sample.label.numpy() / 5),
    ]
    for panel, (name, image) in zip(panels[:, 0], shown, strict=False):
        panel.imshow(np.flip(image.T, 0), cmap="gray" if name in contrasts else "viridis", vmin=0, vmax=1)
        panel.set_title(name, fontsize=8)
    with written_whole(options.out) as beside:
        figure.savefig(beside, format="png", dpi=110)


def _components(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, F) to (N, 3) in 0 to 1."""
    centred = (values - values.mean(0)) / (values.std(0) + 1e-6)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    found = centred @ axes[:3].T
    low, high = np.percentile(found, (1, 99), axis=0)
    return np.asarray(((found - low) / (high - low)).clip(0, 1))


def _clusters(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, F) to a colour of each voxel's cluster, (N, 3)."""
    centred = (values - values.mean(0)) / (values.std(0) + 1e-6)
    _, numbers = kmeans2(centred.astype(np.float64), CLUSTERS, minit="++", seed=0)
    return np.asarray(plt.get_cmap("tab10")(numbers)[:, :3])


def _placed(colours: NDArray[Any], voxels: NDArray[Any], shape: Any) -> NDArray[np.float64]:
    """On the slice, front up."""
    picture = np.zeros((*shape, 3))
    picture[tuple(voxels.T)] = colours
    return np.flip(picture.transpose(1, 0, 2), 0)


if __name__ == "__main__":
    main()
