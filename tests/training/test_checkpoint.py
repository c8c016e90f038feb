"""Checkpoints: the promise that a killed run loses nothing, and that no run continues another's."""

import logging
from pathlib import Path

import pytest
import torch

from gliomagen.errors import GliomaGenError
from gliomagen.training.checkpoint import CheckpointStore
from gliomagen.training.ema import EMA
from gliomagen.training.trainer import learning_rate_factor


def _store(folder: Path, **fingerprint: object) -> CheckpointStore:
    return CheckpointStore(folder, fingerprint={"seed": 0, **fingerprint})


def test_newest_is_found_and_old_ones_go(tmp_path: Path) -> None:
    store = _store(tmp_path)
    assert store.newest() is None
    for step in (2, 4, 6):
        store.save(step, {"network": {"w": torch.tensor(float(step))}})
    step, state = store.newest() or (0, {})
    assert step == 6 and state["network"]["w"] == 6
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"step_0000000{k}.{e}" for k in (4, 6) for e in ("json", "pt")
    ]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "facts"])
def test_damaged_newest_falls_back_and_says_so(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = _store(tmp_path)
    for step in (2, 4):
        store.save(step, {"network": {"w": torch.full((100,), float(step))}})
    newest = tmp_path / "step_00000004.pt"
    content = bytearray(newest.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    elif damage == "truncate":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "remove":
        newest.unlink()
    else:
        newest.with_suffix(".json").write_text("{")
    with caplog.at_level(logging.WARNING):
        found = store.newest()
    assert found is not None and found[0] == 2
    assert "step_00000004.pt" in caplog.text and "falling back" in caplog.text


def test_unfinished_checkpoint_is_not_one(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.save(2, {"network": {}})
    (tmp_path / "step_00000004.pt").write_bytes(b"half")  # killed between the two files
    (tmp_path / ".partial-step_00000006.pt").write_bytes(b"half")
    found = store.newest()
    assert found is not None and found[0] == 2


def test_another_run_is_refused_by_its_first_difference(tmp_path: Path) -> None:
    _store(tmp_path, network={"channels": [32, 64]}).save(2, {"network": {}})
    with pytest.raises(GliomaGenError, match=r"network.channels\[1\] is 64 there and 128 here"):
        _store(tmp_path, network={"channels": [32, 128]}).newest()


def test_ema_is_a_function_of_the_step() -> None:
    network = torch.nn.Linear(2, 2)
    ema = EMA(network, decay=0.9)
    start = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 1
    ema.update(network, step=1)
    assert torch.allclose(ema.network.weight, start + 1 - 2 / 11)
    ema.update(network, step=10_000)  # decay reached
    assert torch.allclose(ema.network.weight, start + 1 - 2 / 11 * 0.9)
    assert not any(p.requires_grad for p in ema.network.parameters())


def test_learning_rate_rises_stays_and_falls() -> None:
    rates = [learning_rate_factor(step, warmup=10, decay_from=100) for step in (1, 10, 100, 400)]
    assert rates == [0.1, 1.0, 1.0, 0.5]
