"""The procedural phantom cohort: seeded heads with treated gliomas, in the challenge's layout."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .. import __version__
from ..errors import GliomaGenError
from ..files import read_json, write_json
from ..labels import BACKGROUND, CONTRASTS, ET, HEAD, NETC, RC, SNFH, convention
from ..volume import Volume, write_volume
from .phantom_anatomy import build_anatomy
from .phantom_calendar import case_name, write_calendar
from .phantom_contrast import paint, scan_effects
from .phantom_course import draw_foci, first_focus, mass_effect
from .phantom_field import Float, Grid
from .phantom_growth import grown
from .phantom_lesion import build_grown_lesion, build_lesion
from .phantom_shape import HEAD_CENTRE_MM, Frame, draw_frame, draw_shape

Course = Literal["steps", "growth"]
"""How a tumour changes from scan to scan: foci that grow, answer and are operated on, step by step; or cells that divide and wander
(:mod:`.phantom_growth`), with days, and known parameters."""

_SAMPLE_MM = 1.6  # coarser voxels are averaged over samples at least this dense
_MARGIN_MM = 4.0
# Votes of a sample for its voxel's label: thin rims survive coarse voxels.
_VOTES = {BACKGROUND: 1.0, HEAD: 1.0, NETC: 1.15, SNFH: 1.0, ET: 1.3, RC: 1.05}


@dataclass(frozen=True, kw_only=True)
class PhantomCase:
    """One scan of a phantom.

    Attributes:
        images: Per contrast an int16 array (X, Y, Z), axes left, posterior, superior; 0 outside the head.
        labels: uint8 (X, Y, Z) in the prepared convention, the head included.
        affine: (4, 4), voxel indices to millimetres.
    """

    images: dict[str, NDArray[np.int16]]
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]


def phantom_case(
    *,
    patient: int,
    timepoint: int = 0,
    spatial_size: Sequence[int] = (182, 218, 182),
    voxel_mm: float = 1.0,
    course: Course = "steps",
) -> PhantomCase:
    """Makes one scan of a phantom patient.

    A patient is a function of its number and the position in millimetres, so other grids show the same
    patient, up to sampling and noise.

    Args:
        patient: The patient's number, not negative.
        timepoint: Which of its scans, 0 first.
        spatial_size: Voxels along left, posterior, superior. The grid is centred on where heads lie.
        voxel_mm: Edge of a voxel.
        course: How the tumour changes from scan to scan.

    Raises:
        GliomaGenError: An argument makes no volume.
    """
    size = _checked_size(spatial_size, voxel_mm)
    if patient < 0 or timepoint < 0:
        raise GliomaGenError(f"phantom patient {patient}, time point {timepoint}: neither may be negative")
    affine, grid = _output_grid(size, voxel_mm)
    frame = draw_frame(patient)
    box = _head_box(frame, grid)
    coarse = grid.part(box)
    factor = max(1, int(np.ceil(voxel_mm / _SAMPLE_MM)))
    fine = _refined(coarse, factor, voxel_mm)
    if course == "growth":
        focus, density = first_focus(patient, frame), grown(patient, timepoint + 1)[timepoint]
        foci = [replace(focus, mass_mm=density.radius_mm, oedema_mm=density.reach_mm)]
    else:
        foci = draw_foci(patient, timepoint, frame)
    anatomy = build_anatomy(patient, draw_shape(patient, frame, mass_effect(foci, frame)), fine)
    if course == "growth":
        lesion = build_grown_lesion(patient, timepoint, focus, density, anatomy)
    else:
        lesion = build_lesion(patient, timepoint, foci, anatomy)
    fine_labels = lesion.label(anatomy)
    labels = _vote(fine_labels, factor)
    inside = (fine_labels > 0).astype(np.float32)
    share = np.maximum(_mean(inside, factor), np.float32(1e-3))
    painted = paint(patient, timepoint, anatomy, lesion)
    for name in CONTRASTS:
        painted[name] = np.asarray(_mean(painted[name] * inside, factor) / share, np.float32)
    images = scan_effects(patient, timepoint, painted, coarse, labels > 0)
    whole_labels = np.zeros(size, np.uint8)
    whole_labels[box] = labels
    whole = {}
    for name in CONTRASTS:
        whole[name] = np.zeros(size, np.int16)
        whole[name][box] = np.clip(np.rint(images[name]), 0, np.iinfo(np.int16).max)
    return PhantomCase(images=whole, labels=whole_labels, affine=affine)


class PhantomCohort:
    """Writes a phantom cohort in the layout and label numbers of the BraTS 2024 post-treatment challenge."""

    def __init__(
        self,
        *,
        output_dir: str,
        patients: int,
        timepoints: int = 1,
        spatial_size: Sequence[int] = (182, 218, 182),
        voxel_mm: float = 1.0,
        course: Course = "steps",
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        """Checks the options.

        Args:
            output_dir: Cases go to ``<output_dir>/<case>/<case>-<contrast>.nii.gz`` and ``…-seg.nii.gz``.
            patients: How many patients, at most 1000.
            timepoints: Scans per patient.
            spatial_size: Voxels per axis.
            voxel_mm: Edge of a voxel.
            course: How tumours change from scan to scan.
            seed: 0 to 99. Patient numbers are ``seed * 1000 + index``, so seeds share no patient.
            num_workers: Processes to use; 0 works in this one.

        Raises:
            GliomaGenError: An option is out of range.
        """
        if not 1 <= patients <= 1000:
            raise GliomaGenError(f"patients {patients}: choose 1 to 1000; more cohorts have other seeds")
        if not 0 <= seed <= 99:
            raise GliomaGenError(f"seed {seed}: choose 0 to 99, patient numbers have five digits")
        if not 1 <= timepoints <= 900:
            raise GliomaGenError(
                f"timepoints {timepoints}: choose 1 to 900, they are numbered from 100 to 999"
            )
        if course not in get_args(Course):
            raise GliomaGenError(f"course '{course}' is not known; choose among {list(get_args(Course))}")
        if num_workers < 0:
            raise GliomaGenError(f"num_workers {num_workers}: choose 0 or more")
        self.output_dir = Path(output_dir)
        self.spatial_size = _checked_size(spatial_size, voxel_mm)
        self.voxel_mm = float(voxel_mm)
        self.course = course
        self.num_workers = num_workers
        self.scans = [
            (seed * 1000 + index, timepoint) for index in range(patients) for timepoint in range(timepoints)
        ]

    def run(self) -> None:
        """Writes every case that is not complete yet; of growth also the calendar and what each tumour does.

        Raises:
            GliomaGenError: The folder holds phantoms made with other parameters, or cannot be written.
        """
        self._claim_folder()
        if self.course == "growth":
            write_calendar(self.output_dir, self.scans)
        missing = [scan for scan in self.scans if not self._complete(scan)]
        write = partial(
            _write_case,
            output_dir=self.output_dir,
            spatial_size=self.spatial_size,
            voxel_mm=self.voxel_mm,
            course=self.course,
        )
        for _ in tqdm(self._mapped(write, missing), total=len(missing), desc="phantoms", unit="scan"):
            pass

    def _mapped(
        self, write: Callable[[tuple[int, int]], None], scans: list[tuple[int, int]]
    ) -> Iterator[None]:
        if self.num_workers == 0 or len(scans) < 2:
            yield from map(write, scans)
            return
        workers = min(self.num_workers, len(scans))
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                yield from pool.map(write, scans)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _claim_folder(self) -> None:
        """Records the parameters that decide the voxels; refuses a folder made with others."""
        path = self.output_dir / "phantoms.json"
        parameters = {
            "made_by": "gliomagen phantoms",
            "package_version": __version__,
            "spatial_size": list(self.spatial_size),
            "voxel_mm": self.voxel_mm,
            "course": self.course,
        }
        if path.exists():
            found = read_json(path)
            found = {"course": "steps", **found} if isinstance(found, dict) else found  # older folders
            for name, value in parameters.items():
                if not isinstance(found, dict) or found.get(name) != value:
                    there = found.get(name) if isinstance(found, dict) else None
                    raise GliomaGenError(
                        f"{path}: made with {name} {there}, not {value}; "
                        "choose another output_dir or empty this one"
                    )
            return
        write_json(path, parameters)

    def _complete(self, scan: tuple[int, int]) -> bool:
        return all(path.is_file() for path in _case_files(self.output_dir, *scan).values())


def _case_files(output_dir: Path, patient: int, timepoint: int) -> dict[str, Path]:
    name = case_name(patient, timepoint)
    return {part: output_dir / name / f"{name}-{part}.nii.gz" for part in (*CONTRASTS, "seg")}


def _write_case(
    scan: tuple[int, int],
    *,
    output_dir: Path,
    spatial_size: tuple[int, int, int],
    voxel_mm: float,
    course: Course,
) -> None:
    patient, timepoint = scan
    case = phantom_case(
        patient=patient, timepoint=timepoint, spatial_size=spatial_size, voxel_mm=voxel_mm, course=course
    )
    files = _case_files(output_dir, patient, timepoint)
    for contrast, image in case.images.items():
        write_volume(files[contrast], Volume(data=image, affine=case.affine))
    segmentation = convention("brats2024").from_prepared(case.labels)
    write_volume(files["seg"], Volume(data=segmentation, affine=case.affine))


def _checked_size(spatial_size: Sequence[int], voxel_mm: float) -> tuple[int, int, int]:
    size = tuple(int(length) for length in spatial_size)
    if len(size) != 3 or min(size) < 8:
        raise GliomaGenError(f"spatial_size {list(spatial_size)}: give three whole numbers of at least 8")
    if not 0.4 <= voxel_mm <= 8:
        raise GliomaGenError(f"voxel_mm {voxel_mm}: choose 0.4 to 8")
    return size  # type: ignore[return-value]


def _output_grid(size: tuple[int, int, int], voxel_mm: float) -> tuple[NDArray[np.float64], Grid]:
    """Affine (axes left, posterior, superior) and voxel centres of a grid centred where heads lie."""
    affine = np.diag([-voxel_mm, -voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = np.array(HEAD_CENTRE_MM) - affine[:3, :3] @ ((np.array(size) - 1) / 2)
    lines = [
        (affine[axis, 3] + affine[axis, axis] * np.arange(size[axis])).astype(np.float32) for axis in range(3)
    ]
    return affine, Grid(lines=tuple(lines))  # type: ignore[arg-type]


def _head_box(frame: Frame, grid: Grid) -> tuple[slice, slice, slice]:
    """Index box of the voxels that may belong to the head."""
    nodes = np.argwhere(frame.head > -frame.lattice.spacing_mm)
    origin, spacing = np.array(frame.lattice.origin_mm), frame.lattice.spacing_mm
    low, high = origin + spacing * nodes.min(0) - _MARGIN_MM, origin + spacing * nodes.max(0) + _MARGIN_MM
    return grid.box(low.tolist(), high.tolist())


def _refined(grid: Grid, factor: int, voxel_mm: float) -> Grid:
    """Splits every voxel into ``factor`` samples per axis."""
    offsets = ((np.arange(factor) + 0.5) / factor - 0.5) * voxel_mm
    lines = []
    for line in grid.lines:
        step = np.sign(line[-1] - line[0])
        lines.append((line[:, None] + step * offsets[None, :]).ravel().astype(np.float32))
    return Grid(lines=tuple(lines))  # type: ignore[arg-type]


def _mean(values: Float, factor: int) -> Float:
    """Mean over the samples of each voxel."""
    if factor == 1:
        return values
    x, y, z = (length // factor for length in values.shape)
    blocks = values.reshape(x, factor, y, factor, z, factor)
    return np.asarray(blocks.mean((1, 3, 5), dtype=np.float32))


def _vote(labels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Label of each voxel: the weighted majority of its samples."""
    if factor == 1:
        return labels
    winner, best = None, None
    for label, vote in _VOTES.items():
        share = _mean((labels == label).astype(np.float32), factor) * np.float32(vote)
        if winner is None or best is None:
            winner, best = np.full(share.shape, label, np.uint8), share
        else:
            ahead = share > best
            winner[ahead], best = label, np.maximum(best, share)
    assert winner is not None
    return winner
