"""The condition and the training mix: a fault here would make the generator ignore or misread what it is given."""

import numpy as np
import pytest
import torch

from gliomagen.diffusion.condition import make_condition, one_hot
from gliomagen.diffusion.objective import MOST, region_weight
from gliomagen.diffusion.process import RectifiedFlow
from gliomagen.diffusion.tasks import TASKS, DrawNoised, DrawTaskd


@pytest.fixture
def label() -> torch.Tensor:
    label = torch.zeros(1, 1, 16, 16, 16, dtype=torch.long)
    label[..., 2:14, 2:14, 2:14] = 1
    label[..., 5:8, 5:8, 5:8] = 4
    label[..., 8:9, 5:8, 5:8] = 6  # of unknown kind
    return label


def test_channels_are_those_of_the_design(label: torch.Tensor) -> None:
    """5 labels, where known, 4 contrasts, 4 where known: later work relies on this order."""
    image = torch.rand(1, 4, 16, 16, 16)
    where = torch.zeros_like(image, dtype=torch.bool)
    where[:, 1, ..., 3] = True
    channels = make_condition(label, num_labels=5, contrasts=4, voxels=image, voxels_known=where).channels()
    assert channels.shape == (1, 14, 16, 16, 16)
    assert torch.equal(channels[:, 5], torch.ones_like(channels[:, 5]))
    assert (
        torch.equal(channels[:, 7, ..., 3], image[:, 1, ..., 3]) and channels[:, 7, ..., :3].abs().sum() == 0
    )
    assert torch.equal(channels[:, 10:], where.float())


def test_given_background_differs_from_nothing_given(label: torch.Tensor) -> None:
    condition = make_condition(torch.zeros_like(label), num_labels=5, contrasts=4)
    assert not torch.equal(condition.channels(), condition.empty().channels())
    assert condition.empty().channels().abs().sum() == 0


def test_lesion_of_unknown_kind_is_shared(label: torch.Tensor) -> None:
    shares = one_hot(label, num_labels=5)
    assert shares[0, :, 8, 6, 6].tolist() == [0, 0.25, 0.25, 0.25, 0.25]
    assert torch.equal(shares.sum(1), (label[:, 0] > 0).float())


def test_unknown_voxels_may_be_anything(label: torch.Tensor) -> None:
    image = torch.full((1, 4, 16, 16, 16), torch.nan)
    where = torch.zeros_like(image, dtype=torch.bool)
    assert (
        not make_condition(label, num_labels=5, contrasts=4, voxels=image, voxels_known=where)
        .channels()
        .isnan()
        .any()
    )


def test_region_weight_counts_lesions_more_where_labels_are_given(label: torch.Tensor) -> None:
    known = torch.ones_like(label)
    known[..., 8:] = 0
    weight = region_weight(label, known, lesion_weight=4)
    assert torch.all(weight[known == 0] == 1)
    assert abs(weight.mean() - 1) < 1e-5
    lesion, head = weight[0, 0, 6, 6, 6], weight[0, 0, 3, 3, 3]
    assert torch.isclose(lesion, 4 * head)
    assert torch.all(region_weight(label, 0 * known, lesion_weight=4) == 1)


def test_what_is_given_is_not_learnt_and_what_is_left_counts_for_it(label: torch.Tensor) -> None:
    """A hole is a small part of a scan: it would hardly be learnt to be filled, and holes were filled with blur."""
    given = torch.ones(1, 4, *label.shape[2:], dtype=torch.bool)
    given[..., 5:10, 5:10, 5:10] = False
    given[:, 3] = False
    weight = region_weight(label, torch.ones_like(label), given, lesion_weight=4)
    assert torch.all(weight[given] == 0) and (weight[~given] > 0).all()
    assert abs(weight.mean() - 1) < 1e-5
    given[:, 3] = True
    given[..., 6:10, 5:10, 5:10] = True
    few = region_weight(label, torch.ones_like(label), given, lesion_weight=4)
    plain = region_weight(label, torch.ones_like(label), lesion_weight=4)
    assert torch.allclose(few[~given], MOST * plain.expand(few.shape)[~given])
    nothing_left = region_weight(label, torch.ones_like(label), torch.ones_like(given), lesion_weight=4)
    assert torch.all(nothing_left == 0)


@pytest.mark.parametrize("task", sorted(TASKS))
@pytest.mark.parametrize("shape", [(16, 16, 16), (16, 32)])
def test_every_task_leaves_something_to_make(task: str, shape: tuple[int, ...]) -> None:
    """A task that gave everything would teach nothing; one that gave nothing by accident would be another task."""
    label = np.zeros((1, *shape), np.uint8)
    label[(0, *[slice(3, 13)] * len(shape))] = 1
    label[(0, *[slice(6, 9)] * len(shape))] = 3
    for seed in range(20):
        draw = DrawTaskd(keys="image", shares={task: 1}).set_random_state(seed)
        sample = draw({"image": torch.zeros(4, *shape), "label": label})
        labels_known, voxels_known = sample["labels_known"], sample["voxels_known"]
        assert labels_known.shape == (1, *shape) and voxels_known.shape == (4, *shape)
        assert not voxels_known.all()
        assert voxels_known.any() == (task not in ("mask", "none", "lesion_labels"))
        assert labels_known.any() or task in ("none", "missing_contrasts", "contrasts_alone")
        if task == "outside_lesion":
            assert not (voxels_known & torch.from_numpy(label > 1)).any()
        if task == "lesion_labels":
            assert torch.equal(labels_known, torch.from_numpy(label > 1))


def test_a_single_contrast_is_the_one_to_make() -> None:
    """Of one contrast none can be given where one has to be missing; CT would learn nothing from that task."""
    data = {"image": torch.zeros(1, 16, 16, 16), "label": np.ones((1, 16, 16, 16), np.uint8)}
    for seed in range(5):
        sample = DrawTaskd(keys="image", shares={"missing_contrasts": 1}).set_random_state(seed)(dict(data))
        assert not sample["voxels_known"].any()


def test_tasks_work_without_a_lesion_or_a_head() -> None:
    for label in (np.zeros((1, 16, 16, 16), np.uint8), np.ones((1, 16, 16, 16), np.uint8)):
        for task in TASKS:
            DrawTaskd(keys="image", shares={task: 1}).set_random_state(0)(
                {"image": torch.zeros(4, 16, 16, 16), "label": label}
            )


def test_draws_depend_on_the_seed_alone() -> None:
    sample = {"image": torch.zeros(4, 16, 16, 16), "label": np.ones((1, 16, 16, 16), np.uint8), "number": 5}
    draw = DrawNoised(keys="image", process=RectifiedFlow())
    first, second, other = (draw.set_random_state(s)(sample) for s in (3, 3, 4))
    assert torch.equal(first["noise"], second["noise"]) and first["time"] == second["time"]
    assert not torch.equal(first["noise"], other["noise"])
    fixed = DrawNoised(keys="image", process=RectifiedFlow(), times=[0.2, 0.6]).set_random_state(0)
    assert fixed(sample)["time"] == torch.tensor(0.6)
