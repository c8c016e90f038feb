"""The baseline every generator is compared with: if it paints wrongly, every comparison is wrong."""

import numpy as np
import pytest

from gliomagen.errors import GliomaGenError
from gliomagen.evaluation.painter import LabelPainter
from gliomagen.labels import ET, HEAD, SNFH

MEANS = {HEAD: (0.4, 0.6), ET: (0.9, 0.5), SNFH: (0.3, 0.8)}
DEVIATION = 0.05


def made_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    label = np.zeros((20, 20, 16), np.uint8)
    label[2:18, 2:18, 2:14] = HEAD
    label[5:12, 5:12, 4:10] = SNFH
    label[7:10, 7:10, 5:9] = ET
    image = np.zeros((2, *label.shape), np.float32)
    for number, greys in MEANS.items():
        for channel, grey in enumerate(greys):
            where = label == number
            image[channel][where] = grey + DEVIATION * generator.standard_normal(where.sum())
    return image, label


@pytest.fixture(scope="module")
def painter() -> LabelPainter:
    return LabelPainter(sigma_voxel=0.0).fit(made_case(seed) for seed in range(4))


def test_learns_each_labels_mean_and_scatter_per_contrast(painter: LabelPainter) -> None:
    for number, greys in MEANS.items():
        assert painter.mean[number] == pytest.approx(greys, abs=0.02)
        assert painter.deviation[number] == pytest.approx((DEVIATION, DEVIATION), rel=0.25)


def test_streaming_over_cases_equals_all_voxels_at_once(painter: LabelPainter) -> None:
    cases = [made_case(seed) for seed in range(4)]
    together = np.concatenate([image[:, label == HEAD] for image, label in cases], axis=1).astype(np.float64)
    np.testing.assert_allclose(painter.mean[HEAD], together.mean(axis=1), rtol=1e-9)
    np.testing.assert_allclose(painter.deviation[HEAD], together.std(axis=1), rtol=1e-6)


def test_paints_means_exactly_without_noise_and_smoothing(painter: LabelPainter) -> None:
    _, label = made_case(0)
    painted = painter.paint(label, seed=0, noise=False)
    assert painted.shape == (2, *label.shape) and painted.dtype == np.float32
    for number in MEANS:
        expected = np.broadcast_to(painter.mean[number][:, None], painted[:, label == number].shape)
        np.testing.assert_allclose(painted[:, label == number], expected, rtol=1e-6)


def test_noise_has_the_learnt_scatter(painter: LabelPainter) -> None:
    _, label = made_case(0)
    scatter = painter.paint(label, seed=0)[:, label == HEAD].std(axis=1)
    assert scatter == pytest.approx(painter.deviation[HEAD], rel=0.1)


def test_background_is_exactly_zero_and_range_is_kept_also_when_smoothed() -> None:
    image, label = made_case(0)
    smooth = LabelPainter(sigma_voxel=1.5).fit(
        [(image * 1.1, label)]
    )  # greys near 1, so that noise passes it
    painted = smooth.paint(label, seed=3)
    assert (painted[:, label == 0] == 0).all()
    assert painted.min() >= 0 and painted.max() <= 1


def test_smoothing_does_not_darken_the_edge_of_the_head() -> None:
    image, label = made_case(0)
    label = (label > 0).astype(np.uint8) * HEAD
    smooth = LabelPainter(sigma_voxel=1.5).fit([(image, label)])
    painted = smooth.paint(label, seed=0, noise=False)
    for channel in range(2):
        np.testing.assert_allclose(painted[channel][label == HEAD], smooth.mean[HEAD, channel], rtol=1e-4)


def test_noise_is_a_function_of_seed_and_case(painter: LabelPainter) -> None:
    _, label = made_case(0)
    once = painter.paint(label, seed=1, case="a")
    assert np.array_equal(once, painter.paint(label, seed=1, case="a"))
    assert not np.array_equal(once, painter.paint(label, seed=2, case="a"))
    assert not np.array_equal(once, painter.paint(label, seed=1, case="b"))


def test_slices_work_like_volumes() -> None:
    image, label = made_case(0)
    painted = LabelPainter().fit([(image[..., 7], label[..., 7])]).paint(label[..., 7], seed=0)
    assert painted.shape == (2, 20, 20)


def test_an_unseen_label_is_named(painter: LabelPainter) -> None:
    with pytest.raises(GliomaGenError, match="resection cavity"):
        painter.paint(np.full((4, 4, 4), 5, np.uint8), seed=0)


def test_nothing_to_learn_from_is_an_error() -> None:
    with pytest.raises(GliomaGenError, match="no cases"):
        LabelPainter().fit([])
    with pytest.raises(ValueError, match="differ in shape"):
        LabelPainter().fit([(np.zeros((2, 4, 4, 4)), np.zeros((4, 4, 5), np.uint8))])
