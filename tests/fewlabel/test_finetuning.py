"""Fine-tuning: it must learn from a handful, leave the generator's weights alone, and say the same again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import CONFIGS
from monai.bundle import ConfigParser
from torch.nn import functional

from gliomagen.fewlabel.augmenting import Augmentation, LesionPaste
from gliomagen.fewlabel.finetuning import FineTuning, segmentation_loss
from gliomagen.fewlabel.headed import Learning
from gliomagen.fewlabel.prediction import vote
from gliomagen.fewlabel.samples import IGNORED, Classes, Sample


def tuning(dims: int, **options: object) -> FineTuning:
    """Of a small network with random weights."""
    parser = ConfigParser()
    parser.read_config(
        [str(CONFIGS / name) for name in ("train.yaml", *(["slices.yaml"] if dims == 2 else []))]
    )
    parser.update({"channels": [8, 8], "network_def#groups": 4, "network_def#head_channels": 8})
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    basis, process = parser.get_parsed_content("basis"), parser.get_parsed_content("process")
    told = {"head_steps": 60, "head_rate": 4e-3, "steps": 30, "batch_size": 4, **options}
    return FineTuning(network=network, basis=basis, process=process, num_labels=5, spatial_dims=dims, **told)  # type: ignore[arg-type]


def sample(number: int, *shape: int) -> Sample:
    """A head with a square that is bright in one contrast."""
    generator = torch.Generator().manual_seed(number)
    label = torch.zeros(shape, dtype=torch.uint8)
    label[(slice(2, -2),) * len(shape)] = 1
    at = [int(torch.randint(3, n - 9, (), generator=generator)) for n in shape]
    label[tuple(slice(a, a + 6) for a in at)] = 3
    image = (0.3 + 0.05 * torch.randn(4, *shape, generator=generator)).clamp(0.1, 1) * (label > 0)
    image[1] += 0.4 * (label == 3)
    return Sample(name=f"s{number}", case=f"s{number}", image=image, label=label)


@pytest.mark.parametrize(("dims", "learning"), [(2, "head"), (2, "decoder"), (2, "all"), (3, "decoder")])
def test_learns_from_a_handful(dims: int, learning: Learning) -> None:
    shape = (32,) * dims if dims == 2 else (16, 16, 16)
    train, test = [sample(n, *shape) for n in range(4)], sample(9, *shape)
    tune = tuning(dims, learning=learning, layers=2, batch_size=2 if dims == 3 else 4)
    before = {name: value.clone() for name, value in tune.network.state_dict().items()}
    classes = Classes.of(train)
    tune.fit(train, classes)
    assert all(torch.equal(value, before[name]) for name, value in tune.network.state_dict().items())
    said = tune.probabilities(test.image[None], [test.name])
    assert said.shape == (2, 1, 2, *shape)
    found, _, _ = vote(said[:, 0].flatten(2).transpose(1, 2))
    truth = (test.label == 3).flatten()
    found = (
        found.bool() & (test.label > 0).flatten()
    )  # nobody learns outside the head, where nothing is found later
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice > 0.7
    learnt = dict(tune.models[0].network.named_parameters())
    changed = {name.split(".")[0] for name, value in learnt.items() if not torch.equal(value, before[name])}
    assert ("down" in changed) == (learning == "all") and ("up" in changed) == (learning != "head")


def test_the_same_seed_says_the_same() -> None:
    train = [sample(n, 16, 16) for n in range(2)]
    said = []
    for seed in (0, 0, 1):
        tune = tuning(2, head_steps=2, steps=2, seed=seed)
        torch.manual_seed(len(said))
        tune.fit(train, Classes.of(train))
        said.append(tune.probabilities(train[0].image[None], ["x"]))
    assert torch.equal(said[0], said[1]) and not torch.equal(said[0], said[2])


def test_image_and_labels_change_together() -> None:
    """A turned image under an unturned mask teaches wrong borders; beyond the field of view nobody learns."""
    told = sample(1, 32, 32)
    target = Classes.of([told]).target(told)
    change, moved = Augmentation(spatial_dims=2), 0
    for key in range(40):
        image, after = change(told.image, target, key)
        again = change(told.image, target, key)
        assert torch.equal(image, again[0]) and torch.equal(after, again[1])
        inside = after == 1
        assert image[1][inside].mean() > image[1][after == 0].mean() + 0.15
        assert set(after.unique().tolist()) <= {IGNORED, 0, 1} and inside.sum() > 15
        moved += int(not torch.equal(after, target))
    assert 15 < moved < 38


def test_a_pasted_lesion_is_labelled_in_the_head_and_has_its_new_greys() -> None:
    """A lesion in another scan's brightness, or one that is not labelled, would teach what no scan shows."""
    dark, bright = sample(1, 32, 32), sample(2, 32, 32)
    bright = replace(bright, image=(bright.image * 1.5).clamp(0, 1))
    samples = [dark, replace(bright, label=(bright.label > 0).to(torch.uint8))]  # no lesion: it gives none
    targets = [Classes.of([dark]).target(each) for each in samples]
    change = Augmentation(spatial_dims=2)
    never, always = (LesionPaste(samples, targets, change, p) for p in (0.0, 1.0))
    assert never(samples[1].image, targets[1], 1, 0)[0] is samples[1].image
    more = rims = 0
    for key in range(10):
        image, target = always(samples[1].image, targets[1], 1, key)
        assert torch.equal(image, always(samples[1].image, targets[1], 1, key)[0])
        changed = (image != samples[1].image).any(0)
        near = functional.max_pool2d((target == 1)[None].float(), 7, 1, 3)[0] > 0
        assert not (changed & ~near).any() and torch.equal(target == IGNORED, targets[1] == IGNORED)
        rims += int((changed & (target != 1)).any())
        if (target == 1).sum() > 8:
            assert image[0][target == 1].mean() > 1.1 * dark.image[0][targets[0] == 1].mean()
            more += 1
    assert more > 5 and 3 < rims < 10


def test_loss_leaves_out_what_nobody_learns_and_classes_not_shown() -> None:
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    target[0, 0], target[0, 1] = IGNORED, 1
    right = torch.zeros(1, 3, 4, 4)
    right[0, 0], right[0, 1, 1], right[0, 0, 1] = 20, 40, 0
    wrong_outside = right.clone()
    wrong_outside[0, 2, 0] = 99
    weight = torch.ones(3)
    assert segmentation_loss(right, target, weight) < 1e-3
    assert segmentation_loss(wrong_outside, target, weight) == segmentation_loss(right, target, weight)
    assert segmentation_loss(-right, target, weight) > 1
