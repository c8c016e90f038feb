"""What is measured of one scan, and kept on disk, so that memory does not grow with the number of scans."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import GliomaGenError
from ..files import content_sha256, written_whole
from ..labels import LABEL_NAMES
from ..scans import Scan, ScanFiles, read_scan
from .confusion import TRUTH, WHOLE, confusion
from .features import Extractor
from .pairing import PAIR, Distance, pair_measures
from .report.thumbnails import thumbnail
from .segmentation import score_case
from .texture import TEXTURE, texture

FORMAT = 2
"""Of what is measured of a scan: 2 tells false alarms apart."""
Segment = Callable[[NDArray[np.float32]], NDArray[np.uint8]]
"""Scan (C, X, Y, Z) in [0, 1] to prepared labels (X, Y, Z)."""
Fingerprint = Callable[[Scan], Mapping[str, NDArray[Any]]]
"""Scan to the arrays by which copies are found."""


class Inception(Protocol):
    """The published recipe's features."""

    sha256: str
    """Of the weights."""

    def __call__(self, slices: NDArray[Any]) -> NDArray[np.float32]:
        """Returns the vectors of slices (n, H, W), (n, F)."""
        ...


PICTURE = "picture"
BINS = 64
"""Of the histograms of greys, over [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of a scan, without its arrays.

    Attributes:
        case: Its name.
        patient: Whose it is, or whose label map it was made from.
        mask_case: Of a synthetic scan: the label map it was made from.
        path: Where the arrays are.
        facts: ``voxel_mm``, ``size``, ``volume_ml`` by label; where measured, ``segmentation`` by
            region, ``pair`` (:mod:`.pairing`), ``pictured``: number of scans in the picture.
    """

    case: str
    patient: str
    mask_case: str
    path: Path
    facts: Mapping[str, Any]

    @property
    def group(self) -> str:
        """Who is resampled together: the patient, else the case itself."""
        return self.patient or self.case

    def array(self, name: str) -> NDArray[Any]:
        """Reads one array, and no other."""
        with np.load(self.path, allow_pickle=False) as content:
            if name not in content:
                raise GliomaGenError(f"{self.path}: lacks '{name}'; remove it and evaluate again")
            array: NDArray[Any] = content[name]
            return array


class Measurer:
    """Measures scans and keeps the results: one file a scan, whole or absent.

    Args:
        folder: Where results go; one folder for each set.
        contrasts: The channels, in order.
        extractor: Gives the features; None leaves them out.
        segment: The segmenter that faithfulness is measured with; None leaves it out.
        segmenter_sha256: Of its weights.
        fingerprint: Gives the arrays by which copies are found; None leaves them out.
        inception: Gives the published recipe's features of slices; None leaves them out.
        distance: Perceptual distance of a synthetic scan and the real one of its label map; None leaves it out.
    """

    def __init__(
        self,
        *,
        folder: str | Path,
        contrasts: Sequence[str],
        extractor: Extractor | None = None,
        segment: Segment | None = None,
        segmenter_sha256: str | None = None,
        fingerprint: Fingerprint | None = None,
        inception: Inception | None = None,
        distance: Distance | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.contrasts = tuple(contrasts)
        self.extractor, self.segment = extractor, segment
        self.fingerprint, self.inception = fingerprint, inception
        self.distance = distance
        self.settings: dict[str, Any] = {
            "package_version": __version__,
            "format": FORMAT,
            "contrasts": self.contrasts,
            "extractor": extractor.sha256 if extractor else None,
            "segmenter": segmenter_sha256,
            "fingerprint": fingerprint is not None,
            "inception": inception.sha256 if inception else None,
        }
        if extractor and extractor.settings:
            self.settings["extractor_settings"] = extractor.settings

    def path(self, what: str, files: ScanFiles) -> Path:
        """Returns where the results of a scan of a set stand."""
        return self.folder / what / f"{files.case}.npz"

    def known(self, what: str, files: ScanFiles, partner: ScanFiles | None = None) -> Measured | None:
        """Returns the results of a scan, if they are there and still true: same files, same partner, same settings."""
        path = self.path(what, files)
        try:
            with np.load(path, allow_pickle=False) as content:
                facts = json.loads(str(content["facts"]))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):  # absent or damaged: made anew
            return None
        if facts.get("key") != self._key(what, files, partner):
            return None
        return Measured(
            case=files.case, patient=files.patient, mask_case=files.mask_case, path=path, facts=facts
        )

    def measure(
        self,
        what: str,
        files: ScanFiles,
        partner: ScanFiles | None = None,
        *,
        segment: bool = True,
        slices: bool = True,
        picture: bool = False,
    ) -> None:
        """Reads a scan, measures it, keeps the results.

        Args:
            what: Name of the set.
            files: Of the scan.
            partner: The real scan of its label map, to compare it with.
            segment: Compare the segmenter's labels with the scan's own.
            slices: Also the published recipe's features of slices.
            picture: Also a small picture, the partner above.

        Raises:
            GliomaGenError: The scan cannot be read, or holds greys that are not finite.
        """
        scan = read_scan(files)
        real = read_scan(partner) if partner else None
        if not np.isfinite(scan.volume).all():
            raise GliomaGenError(
                f"{files.images[0]}: case {files.case} has greys that are not finite; remove or make it again"
            )
        facts: dict[str, Any] = {
            "key": self._key(what, files, partner),
            "voxel_mm": list(scan.voxel_mm),
            "size": list(scan.label.shape),
            "volume_ml": _volumes(scan),
        }
        arrays: dict[str, NDArray[Any]] = {"histogram": _histograms(scan)}
        for contrast, vector in texture(scan.volume, scan.label > 0, self.contrasts).items():
            arrays[feature_name(contrast, TEXTURE)] = vector[None]
        if self.extractor is not None:
            for contrast, views in self.extractor(scan.volume).items():
                arrays |= {feature_name(contrast, view): table for view, table in views.items()}
        if self.fingerprint is not None:
            arrays |= dict(self.fingerprint(scan))
        if self.inception is not None and slices:
            for contrast, grey in zip(self.contrasts, scan.volume, strict=True):
                arrays[slice_name(contrast)] = self.inception(np.moveaxis(grey, 2, 0))
        if segment and self.segment is not None:
            found = self.segment(scan.volume)
            facts["segmentation"] = score_case(found, scan.label, voxel_mm=scan.voxel_mm)
            for over in (WHOLE, TRUTH):
                arrays[f"confusion/{over}"] = confusion(found, scan.label, over=over)
        if real is not None:
            facts[PAIR], found_arrays = pair_measures(scan, real, self.contrasts, self.distance)
            arrays |= found_arrays
        if picture:
            shown = [real, scan] if real is not None and real.label.shape == scan.label.shape else [scan]
            arrays[PICTURE] = np.frombuffer(thumbnail(shown), np.uint8)
            facts["pictured"] = len(shown)
        path = self.path(what, files)
        with written_whole(path) as beside, open(beside, "wb") as file:
            np.savez(file, allow_pickle=False, facts=np.array(json.dumps(facts)), **arrays)  # type: ignore[arg-type]

    def _key(self, what: str, files: ScanFiles, partner: ScanFiles | None) -> str:
        content: list[Any] = [self.settings, what, _stats(files), files.label_convention]
        if partner is not None:
            content += [_stats(partner), self.distance is not None]
        return content_sha256(content)


def _stats(files: ScanFiles) -> list[tuple[str, int, int]]:
    return [(file.name, (s := file.stat()).st_size, s.st_mtime_ns) for file in (*files.images, files.label)]


def feature_name(contrast: str, view: str) -> str:
    """Returns under which name the features of a contrast and view are kept."""
    return f"features/{contrast}/{view}"


def slice_name(contrast: str) -> str:
    """Returns under which name the published recipe's vectors of a contrast's axial slices are kept."""
    return f"inception/{contrast}"


def features(scans: Sequence[Measured], contrast: str, view: str) -> tuple[NDArray[np.float64], list[str]]:
    """Returns the vectors of a set, (N, F), and for each its patient."""
    tables = [scan.array(feature_name(contrast, view)) for scan in scans]
    groups = [scan.group for scan, table in zip(scans, tables, strict=True) for _ in range(len(table))]
    return np.concatenate(tables).astype(np.float64), groups


def _volumes(scan: Scan) -> dict[str, float]:
    voxel_ml = float(np.prod(scan.voxel_mm)) / 1000
    numbers, counts = np.unique(scan.label[scan.label > 0], return_counts=True)
    return {LABEL_NAMES[int(n)]: int(c) * voxel_ml for n, c in zip(numbers, counts, strict=True)}


def _histograms(scan: Scan) -> NDArray[np.int64]:
    """Counts greys by contrast and label, (C, labels, BINS)."""
    bins = np.clip((scan.volume * BINS).astype(np.int64), 0, BINS - 1)  # (C, X, Y, Z)
    labels = scan.label.astype(np.int64)
    size = len(LABEL_NAMES) * BINS
    counts = [np.bincount((labels * BINS + channel).ravel(), minlength=size) for channel in bins]
    return np.stack(counts).reshape(len(bins), len(LABEL_NAMES), BINS)
