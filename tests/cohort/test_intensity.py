"""Grey values: comparable between scans, the background exactly 0, the way back known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gliomagen.cohort.intensity import NormalizeContrasts, NormalizeContrastsd
from gliomagen.cohort.loading import with_geometry
from gliomagen.errors import GliomaGenError


@pytest.fixture
def scan() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Grey values 100 to 900 in a box of head that also has 20 % removed voxels, amid background of 7."""
    rng = np.random.default_rng(1)
    image = np.full((1, 24, 24, 24), 7, np.float32)
    label = np.zeros(image.shape, np.uint8)
    inside = np.s_[:, 4:20, 4:20, 4:20]
    label[inside] = 1
    image[inside] = rng.uniform(100, 900, (1, 16, 16, 16))
    image[:, 4:7, 4:20, 4:20] = 0
    return image, label


def normalized(
    image: NDArray[np.float32], label: NDArray[np.uint8], **options: tuple[float, float]
) -> NDArray[np.float32]:
    return np.asarray(
        NormalizeContrasts(**options)(with_geometry(image, np.eye(4)), with_geometry(label, np.eye(4)))
    )


def test_percentiles_of_the_measured_head_become_0_and_1(
    scan: tuple[NDArray[np.float32], NDArray[np.uint8]],
) -> None:
    image, label = scan
    result = NormalizeContrasts()(with_geometry(image, np.eye(4)), with_geometry(label, np.eye(4)))
    low, high = result.meta["intensity_range"][0]
    measured = image[(label > 0) & (image != 0)]
    np.testing.assert_allclose([low, high], np.percentile(measured, [0.5, 99.5]), rtol=1e-6)
    assert result.dtype == torch.float32 and float(result.min()) == 0 and float(result.max()) == 1
    kept = (label > 0) & (image > low) & (image < high)
    np.testing.assert_allclose(np.asarray(result)[kept] * (high - low) + low, image[kept], rtol=1e-4)
    wide = normalized(image, label, percentiles=(0.0, 100.0))
    assert wide[kept].max() < 1 and (wide == 1).sum() == 1


def test_background_is_exactly_zero_and_does_not_set_the_scale(
    scan: tuple[NDArray[np.float32], NDArray[np.uint8]],
) -> None:
    """The samplers zero the background; a prepared one of 1e-6 would be another value."""
    image, label = scan
    result = normalized(image, label)
    assert (result[label == 0] == 0).all()
    louder = np.where(label == 0, 1e6, image).astype(np.float32)
    np.testing.assert_array_equal(normalized(louder, label), result)


def test_gain_and_offset_of_the_scanner_drop_out(scan: tuple[NDArray[np.float32], NDArray[np.uint8]]) -> None:
    image, label = scan
    other = np.where(image == 0, 0, 3.5 * image + 60).astype(np.float32)
    np.testing.assert_allclose(normalized(other, label), normalized(image, label), atol=1e-5)


def test_negative_ripple_is_clipped_and_counted_and_z_scores_are_kept(
    scan: tuple[NDArray[np.float32], NDArray[np.uint8]],
) -> None:
    image, label = scan
    rippled = image.copy()
    rippled[:, 10, 10, 4:20] = -40  # 16 voxels
    rippled[:, 11:13, 4:20, 10] = -3  # 32 voxels, so the 0.5 % lie below 0
    label_tensor = with_geometry(label, np.eye(4))
    case = NormalizeContrastsd("t1c")({"t1c": with_geometry(rippled, np.eye(4)), "label": label_tensor})
    assert case["intensity_range"]["t1c"][0] == 0
    assert case["clipped_negatives"] == {"t1c": 48}
    assert (np.asarray(case["t1c"])[rippled < 0] == 0).all()
    scored = np.where(image == 0, 0, (image - 500) / 230).astype(np.float32)
    measured = image > 0
    np.testing.assert_allclose(
        normalized(scored, label)[measured], normalized(image, label)[measured], atol=1e-4
    )


def test_each_contrast_is_scaled_by_itself(scan: tuple[NDArray[np.float32], NDArray[np.uint8]]) -> None:
    image, label = scan
    case = {key: with_geometry(image * gain, np.eye(4)) for key, gain in (("t1c", 1), ("t2w", 2))}
    case["label"] = with_geometry(label, np.eye(4))
    result = NormalizeContrastsd(("t1c", "t2f", "t2w"), allow_missing=True)(case)
    np.testing.assert_allclose(
        result["intensity_range"]["t2w"], 2 * np.array(result["intensity_range"]["t1c"])
    )
    torch.testing.assert_close(result["t1c"].as_tensor(), result["t2w"].as_tensor(), atol=1e-5, rtol=0)
    with pytest.raises(GliomaGenError, match="lacks t2f"):
        NormalizeContrastsd(("t1c", "t2f", "t2w"))(case)


@pytest.mark.parametrize("grey", [0, 55])
def test_a_contrast_without_contrast_is_refused(
    scan: tuple[NDArray[np.float32], NDArray[np.uint8]], grey: int
) -> None:
    image, label = scan
    with pytest.raises(GliomaGenError, match="constant inside the head"):
        normalized(np.full_like(image, grey), label)
    with pytest.raises(GliomaGenError, match="has no head"):
        normalized(image, 0 * label)
