"""What each task gives the generator, and what it leaves open."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from completion_heads import head
from monai.data import MetaTensor

from gliomagen.completion.requests import requests
from gliomagen.completion.saving import bits
from gliomagen.completion.scan import Scan, edited_label, require_same_grid
from gliomagen.completion.slices import fitted_slice, slices_at
from gliomagen.completion.tasks import TASKS, Ask, Given, widened
from gliomagen.diffusion.blending import blended
from gliomagen.errors import GliomaGenError
from gliomagen.labels import CONTRASTS, HEAD, convention


def given(task: str, scan: Scan, **options: Any) -> Given:
    asked = {"contrasts": np.ones(4, bool), **options}
    return TASKS[task].given(Ask(scan=scan, **asked))


def with_lesion(scan: Scan, at: tuple[slice, ...], number: int = 4) -> np.ndarray:
    label = scan.label.copy()
    label[at] = np.where(scan.label[at] > 0, number, 0)
    return label


NEW = (slice(4, 6), slice(7, 9), slice(7, 9))


def test_positions_are_within_the_head() -> None:
    """0 and 1 are its first and last slice along any axis; what lies outside is refused."""
    scan = head()
    for axis in range(3):
        inside = np.flatnonzero((scan.label > 0).any(tuple(k for k in range(3) if k != axis)))
        assert slices_at(scan, axis, [0, 0.5, 1], None) == [
            inside[0],
            inside[0] + round(0.5 * (inside[-1] - inside[0])),
            inside[-1],
        ]
    assert slices_at(scan, 1, [0.5], [0, 15]) == [0, 15]
    for positions, slices in (([1.2], None), ([True], None), ([0.5], [16]), ([0.5], [-1])):
        with pytest.raises(GliomaGenError, match="choose"):
            slices_at(scan, 0, positions, slices)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_informed_slices_are_whole_slices_of_the_contrasts_asked(axis: int) -> None:
    """Nothing beside them is given away, or similarity to the true scan would mean nothing."""
    scan = head()
    known = given(
        "informed_slice", scan, axis=axis, slices=[5, 8], contrasts=np.array([1, 0, 1, 0], bool)
    ).known
    where = np.zeros(scan.label.shape, bool)
    np.moveaxis(where, axis, 0)[[5, 8]] = True
    np.testing.assert_array_equal(known, np.array([1, 0, 1, 0], bool)[:, None, None, None] & where)


def test_a_lesion_is_left_out_with_its_margin_in_mm() -> None:
    """Thick slices: a margin counted in voxels would reach three times as far across them."""
    scan = head(mm=(1.0, 1.0, 3.0))
    made = given("healthy", scan, margin_mm=2.0)
    assert made.label.max() == HEAD and made.region is not None
    seed = np.argwhere(scan.label > HEAD)
    for axis, steps in ((0, 2), (2, 0)):
        reach = np.ptp(np.argwhere(made.region)[:, axis]) - np.ptp(seed[:, axis])
        assert reach == 2 * steps
    np.testing.assert_array_equal(made.known, np.broadcast_to(~made.region, made.known.shape))
    assert not (made.region & (scan.label == 0)).any(), "the margin stays in the head"


def test_insertion_keeps_the_scans_own_lesion_and_replacement_does_not() -> None:
    """The result's label map must say what the result shows, old lesion included."""
    scan = head()
    edited = np.where(scan.label > HEAD, HEAD, with_lesion(scan, NEW)).astype(
        np.uint8
    )  # moved: the old one is gone
    inserted = given("lesion_insertion", scan, edited=edited, margin_mm=0.0)
    replaced = given("replace", scan, edited=edited, margin_mm=0.0)
    changed = given("counterfactual", scan, edited=edited, margin_mm=0.0)
    np.testing.assert_array_equal(inserted.label, with_lesion(scan, NEW))
    np.testing.assert_array_equal(inserted.region, with_lesion(scan, NEW) != scan.label)
    np.testing.assert_array_equal(replaced.label, edited)
    for made in (replaced, changed):
        np.testing.assert_array_equal(made.region, (scan.label > HEAD) | (edited > HEAD))
    grown = with_lesion(scan, NEW)
    unchanged = given("counterfactual", scan, edited=grown, margin_mm=0.0)
    assert unchanged.region is not None and not unchanged.region[scan.label > HEAD].any()


def test_contrasts_that_are_not_there_are_not_known() -> None:
    """Zeros given as if they were a scan would make the rest black."""
    full = head()
    scan = Scan(
        name="three",
        image=full.image,
        here=np.array([1, 1, 0, 1], bool),
        label=full.label,
        affine=full.affine,
    )
    for task in ("missing_contrast", "informed_slice", "healthy"):
        assert not given(task, scan).known[2].any()


def test_a_slice_fits_itself_and_another_head_only_in_healthy_tissue() -> None:
    """Another patient's tumour, or its skull's edge, in a place where the label map says healthy, is a contradiction."""
    scan, donor = head(0), head(3)
    image, fits = fitted_slice(scan, 8, scan, 8, 2)
    np.testing.assert_array_equal(fits, scan.label[:, :, 8] == HEAD)
    np.testing.assert_allclose(image[:, fits], scan.image[:, :, :, 8][:, fits], atol=1e-6)
    made = given("ic", scan, donor=donor, slices=[8])
    assert made.known.any() and not made.known[:, scan.label != HEAD].any()
    assert made.facts == {"slices": [8], "donor_slices": [8]}
    other = head(1)
    assert made.voxels[0, :, :, 8].max() <= donor.image.max() and not np.array_equal(made.voxels, other.image)
    with pytest.raises(GliomaGenError, match="no head in the slice"):
        given("ic", scan, donor=donor, slices=[0])


def test_edits_keep_the_head_and_stay_inside_it() -> None:
    """An edit of the head would contradict voxels that are known."""
    scan = head()
    affine = torch.as_tensor(scan.affine)

    def tensor(label: np.ndarray) -> MetaTensor:
        return MetaTensor(
            torch.from_numpy(label[None]), affine=affine, meta={"filename_or_obj": "edited.nii.gz"}
        )

    prepared = convention("prepared")
    wanted = np.where(with_lesion(scan, NEW) > HEAD, with_lesion(scan, NEW), 0).astype(np.uint8)
    np.testing.assert_array_equal(edited_label(scan, tensor(wanted), prepared) > 0, scan.label > 0)
    outside = scan.label.copy()
    outside[0, 0, 0] = 4
    with pytest.raises(GliomaGenError, match=r"edited.nii.gz: 1 lesion voxels lie outside the head"):
        edited_label(scan, tensor(outside), prepared)
    with pytest.raises(GliomaGenError, match=r"edited.nii.gz: .*9"):
        edited_label(scan, tensor(np.full_like(scan.label, 9)), prepared)
    with pytest.raises(GliomaGenError, match="not on the grid of head 0"):
        require_same_grid(tensor(wanted[1:]), scan)
    moved = MetaTensor(torch.from_numpy(wanted[None]), affine=affine + torch.eye(4))
    with pytest.raises(GliomaGenError, match="its place differs"):
        require_same_grid(moved, scan)


CASES = [
    {
        "case": f"P{i}-100",
        "patient": f"P{i}",
        "label": f"{i}.nii.gz",
        **dict.fromkeys(CONTRASTS, "scan.nii.gz"),
    }
    for i in range(5)
]
NAMES = {"contrasts": CONTRASTS, "network_contrasts": CONTRASTS}


def test_donors_are_other_patients_and_the_shared_one_is_one() -> None:
    """A patient's own slice as another's would make the comparison between them void."""
    others = requests(CASES, task="ic", donors=CASES, seed=1, **NAMES)
    assert all(entry["patient"] != entry["donor-patient"] for entry in others)
    assert len({entry["donor-case"] for entry in others}) > 1
    assert others == requests(CASES, task="ic", donors=CASES, seed=1, **NAMES)
    assert len({e["donor-case"] for e in requests(CASES, task="harmonize", donors=CASES, **NAMES)}) == 1
    named = requests(CASES, task="harmonize", donors=CASES, donor_case="P3-100", **NAMES)
    assert {entry["donor-case"] for entry in named} == {"P3-100"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "informed_slices"}, "task 'informed_slices' is not known"),
        ({"task": "informed_slice", "contrasts": ["flair"]}, "name known ones"),
        ({"task": "missing_contrast", "contrasts": []}, "name known ones"),
        ({"task": "missing_contrast"}, "none is missing"),
        ({"task": "counterfactual"}, "needs edited label maps"),
        ({"task": "healthy", "masks": [{"case": "P0-100", "label": "0.nii.gz"}]}, "takes no edited"),
        ({"task": "ic", "donors": CASES[:1], "cases": CASES[:1]}, "no other patient"),
        ({"task": "ic", "donors": CASES, "donor_case": "P9-100"}, "donor P9-100 is not among"),
        (
            {"task": "healthy", "cases": [{**CASES[0], "t2f": "x"}, {"case": "P9-1", "label": "x"}]},
            "P9-1: lacks t1c",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], message: str) -> None:
    """Before anything is sampled."""
    asked = {"cases": CASES, **NAMES, **options}
    with pytest.raises(GliomaGenError, match=message):
        requests(asked.pop("cases"), **asked)


def test_blending_touches_the_regions_edge_alone() -> None:
    """Known voxels stay what they are, lesion is never watered down."""
    scan = head()
    region = widened(scan.label > HEAD, scan, 9.0)
    made = np.where(region, 1.0 - scan.image, scan.image).astype(np.float32)
    options: dict[str, Any] = {"head": scan.label > 0, "lesion": scan.label > HEAD, "voxel_mm": scan.voxel_mm}
    mixed = blended(made, scan.image, region, band_mm=6.0, **options)
    np.testing.assert_array_equal(mixed[:, ~region], scan.image[:, ~region])
    np.testing.assert_array_equal(mixed[:, scan.label > HEAD], made[:, scan.label > HEAD])
    touched = (mixed != made).any(0)
    assert touched.any() and not touched[widened(scan.label > HEAD, scan, 3.0)].any()
    np.testing.assert_array_equal(blended(made, scan.image, region, band_mm=0.0, **options), made)


def test_given_voxels_are_told_contrast_by_contrast() -> None:
    """Whoever uses the files must be able to tell a scan's voxels from made ones."""
    known = np.zeros((4, 2, 2, 2), bool)
    known[0, 0], known[3, :, 0] = True, True
    packed = bits(known)
    for contrast in range(4):
        np.testing.assert_array_equal((packed >> contrast) & 1, known[contrast])
