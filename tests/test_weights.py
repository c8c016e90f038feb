"""Weight files: what does not fit must say so at once, not give grey noise after an hour."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import CONFIGS
from monai.bundle import ConfigParser
from torch import Tensor, nn

from gliomagen.errors import GliomaGenError
from gliomagen.weights import load_weights, read_state, save_state


def network(width: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(2, width, 3), nn.SiLU(), nn.Conv3d(width, 2, 3))


def refusal(file: Path, into: nn.Module) -> str:
    """The one line that loading ends with; nothing of the network is changed."""
    before = {name: value.clone() for name, value in into.state_dict().items()}
    with pytest.raises(GliomaGenError) as caught:
        load_weights(into, file)
    assert all(torch.equal(value, before[name]) for name, value in into.state_dict().items())
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_saved_weights_come_back(tmp_path: Path) -> None:
    save_state(tmp_path / "model.pt", network())
    other = network()
    nn.init.zeros_(other[0].weight)
    load_weights(other, tmp_path / "model.pt")
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), network().parameters(), strict=True))


def test_missing_file(tmp_path: Path) -> None:
    assert "no weights there" in refusal(tmp_path / "model.pt", network())


def test_damaged_file(tmp_path: Path) -> None:
    save_state(tmp_path / "model.pt", network())
    content = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(content[: len(content) // 2])
    assert "not readable as weights" in refusal(tmp_path / "model.pt", network())


@pytest.mark.parametrize("content", [{"network": {"weight": torch.zeros(1)}}, [torch.zeros(1)]])
def test_not_a_state_dict(content: object, tmp_path: Path) -> None:
    """A checkpoint in place of model.pt."""
    torch.save(content, tmp_path / "checkpoint.pt")
    assert "not a flat state dict" in refusal(tmp_path / "checkpoint.pt", network())


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "model.pt")
    assert "not readable as weights" in refusal(tmp_path / "model.pt", network())


def test_other_channels_name_the_first_difference(tmp_path: Path) -> None:
    save_state(tmp_path / "model.pt", network(width=6))
    line = refusal(tmp_path / "model.pt", network())
    assert (
        "'0.weight' is (6, 2, 3, 3, 3) there and (4, 2, 3, 3, 3) in the config" in line and "channels" in line
    )


def test_lacking_and_extra_entries_are_named(tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save({name: value for name, value in state.items() if name != "2.bias"}, tmp_path / "less.pt")
    assert "lacks '2.bias'" in refusal(tmp_path / "less.pt", network())
    torch.save({**state, "extra.weight": torch.zeros(1)}, tmp_path / "more.pt")
    assert "has 'extra.weight'" in refusal(tmp_path / "more.pt", network())


def test_reference_recipe_has_the_published_size(tmp_path: Path) -> None:
    """GliomaGen's network as published: 57.57 million parameters with its 10 input channels, ours has 8 more."""
    parser = ConfigParser(
        ConfigParser.load_config_files([CONFIGS / "train.yaml", CONFIGS / "reference.yaml"])
    )
    parser.get_parsed_content("process")  # its tables are no weights
    with torch.device("meta"):
        built = parser.get_parsed_content("network_def")
    assert sum(parameter.numel() for parameter in built.parameters()) == pytest.approx(57.5e6, abs=0.3e6)
    first = next(built.parameters())
    assert first.shape == (64, 18, 3, 3, 3)
    save_state(tmp_path / "model.pt", nn.Linear(1, 1))
    with pytest.raises(GliomaGenError, match=r"lacks 'conv_in\.conv\.weight'"):
        load_weights(built, tmp_path / "model.pt")


def test_read_state_gives_plain_tensors(tmp_path: Path) -> None:
    save_state(tmp_path / "model.pt", network())
    assert all(type(value) is Tensor for value in read_state(tmp_path / "model.pt").values())
