"""Pictures are what a radiologist judges by: turned wrongly or scaled unequally they mislead."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from gliomagen.errors import GliomaGenError
from gliomagen.labels import ET, HEAD, NETC, RC, SNFH
from gliomagen.pictures import LABEL_COLOURS, PictureRow, picture_grid, radiological, representative_slice


def head(shape: tuple[int, ...] = (32, 40, 24)) -> np.ndarray:
    """An ellipsoid head; oedema around enhancing tumour on the patient's right, in front."""
    axes = np.meshgrid(*[np.linspace(-1, 1, size) for size in shape], indexing="ij")
    label = np.zeros(shape, np.uint8)
    label[sum(axis**2 for axis in axes) < 0.8] = HEAD
    distance = sum((axis - at) ** 2 for axis, at in zip(axes, (0.4, 0.35, 0.0), strict=False))
    label[distance < 0.08] = SNFH
    label[distance < 0.03] = ET
    return label


def row(
    label: np.ndarray, *, names: tuple[str, ...] = ("real", "synthetic"), **options: object
) -> PictureRow:
    image = np.stack([(label > 0) * 0.5, (label == ET) * 1.0], axis=0).astype(np.float32)
    return PictureRow(
        title="case-1", label=label, volumes=dict.fromkeys(names, image), contrasts=("t1c", "t2f"), **options
    )


def where_coloured(picture: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels that have the colour of ``label``."""
    return np.nonzero(np.abs(picture[..., :3] - np.array(to_rgb(LABEL_COLOURS[label]))).max(axis=-1) < 0.02)


def test_front_is_up_and_the_patients_right_is_on_the_left() -> None:
    plane = np.zeros((5, 7))
    plane[4, 6] = 1  # right, front
    assert radiological(plane).shape == (7, 5)
    assert radiological(plane)[0, 0] == 1


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_the_drawn_tumour_is_left_and_up_for_a_right_frontal_one(tmp_path: Path, plane: str) -> None:
    label = head()
    label[:, :, :12][label[:, :, :12] > HEAD] = HEAD  # for the coronal plane: only the upper half is tumour
    picture_grid(tmp_path / "p.png", [row(label)], plane=plane, overlay=False)
    picture = imread(tmp_path / "p.png")[
        : imread(tmp_path / "p.png").shape[0] * 9 // 10
    ]  # without the legend
    rows, columns = where_coloured(picture, HEAD)
    tumour_rows, tumour_columns = where_coloured(picture, SNFH)
    assert tumour_columns.mean() < (columns.min() + columns.max()) / 2
    assert tumour_rows.mean() < (rows.min() + rows.max()) / 2


def test_the_slice_with_the_most_core_is_shown_rather_than_the_one_with_the_most_oedema() -> None:
    label = np.zeros((10, 10, 10), np.uint8)
    label[1:9, 1:9, 1:9] = HEAD
    label[2:8, 2:8, 3] = SNFH
    assert representative_slice(label, 2) == 3
    label[4:6, 4:6, 6] = NETC
    label[4:7, 4:7, 7] = RC
    assert representative_slice(label, 2) == 7
    assert representative_slice(np.where(label > HEAD, HEAD, label), 2) == 1  # healthy: the most head
    assert representative_slice(label, 0) in range(4, 7)


def test_all_panels_share_one_grey_window(tmp_path: Path) -> None:
    """A dim synthetic volume must look dim beside the real one, not be stretched to the same brightness."""
    label = head()
    real = np.stack([(label > 0) * 0.8]).astype(np.float32)
    case = PictureRow(
        title="x", label=label, volumes={"real": real, "synthetic": real / 2}, contrasts=("t1c",)
    )
    picture_grid(tmp_path / "p.png", [case], overlay=False)
    picture = imread(tmp_path / "p.png")
    below = picture[picture.shape[0] // 2 : -40]
    left, right = np.array_split(below, 2, axis=1)
    assert left[..., 0].max() == pytest.approx(0.8, abs=0.02)
    assert np.median(right[..., 0][right[..., 0] > 0.2]) == pytest.approx(0.4, abs=0.02)


def test_contours_are_drawn_only_when_wanted(tmp_path: Path) -> None:
    counts = {}
    for overlay in (True, False):
        picture_grid(tmp_path / f"{overlay}.png", [row(head())], overlay=overlay)
        picture = imread(tmp_path / f"{overlay}.png")
        saturation = picture[..., :3].max(axis=-1) - picture[..., :3].min(axis=-1)
        counts[overlay] = (saturation[picture.shape[0] // 2 : -40] > 0.2).sum()
    assert counts[False] == 0
    assert counts[True] > 100


def test_bytes_are_reproducible(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture_grid(tmp_path / f"{name}.png", [row(head())] * 2)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("names", [("synthetic",), ("real", "synthetic", "label painter")])
def test_slices_and_any_number_of_volumes_are_drawn(tmp_path: Path, names: tuple[str, ...]) -> None:
    two = row(head((32, 40)), names=names)
    three = row(head(), names=names, voxel_mm=(1.0, 1.0, 4.0))
    picture_grid(tmp_path / "p.png", [two, three], plane="sagittal")
    picture = imread(tmp_path / "p.png")
    assert picture.shape[1] > 2 * len(names) * 190
    assert len(where_coloured(picture, ET)[0]) > 50


def test_a_slice_can_be_chosen_and_an_empty_one_does_not_fail(tmp_path: Path) -> None:
    picture_grid(tmp_path / "empty.png", [row(head(), slice_index=0)])
    assert len(where_coloured(imread(tmp_path / "empty.png"), ET)[0]) == 0


def test_misfits_are_told(tmp_path: Path) -> None:
    with pytest.raises(GliomaGenError, match="no cases"):
        picture_grid(tmp_path / "p.png", [])
    with pytest.raises(GliomaGenError, match="plane 'oblique'"):
        picture_grid(tmp_path / "p.png", [row(head())], plane="oblique")
    with pytest.raises(ValueError, match="same contrasts and volume names"):
        picture_grid(tmp_path / "p.png", [row(head()), row(head(), names=("real",))])
    with pytest.raises(ValueError, match="'synthetic' has shape"):
        PictureRow(title="x", label=head(), volumes={"synthetic": np.zeros((4, 3, 3, 3))})
    assert not list(tmp_path.iterdir())
