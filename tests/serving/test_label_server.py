"""A real MONAI Label server, started as docs/label.md says, asked over its REST API."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import CONFIGS, ROOT
from monai.bundle import ConfigParser
from numpy.typing import NDArray

from gliomagen.labels import CONTRASTS
from gliomagen.volume import Volume, read_volume, write_volume

OURS = "brats_glioma_mri_synthesis"
OTHER = "other_bundle"
OTHER_SCRIPT = """
import torch

class Invert(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("most", torch.zeros(1))

    def forward(self, image):
        return self.most - image
"""


class Server:
    """Where it answers, and a file of ours it may be asked about."""

    def __init__(self, address: str, mask: Path) -> None:
        self.address = address
        self.mask = mask

    def get(self, path: str) -> dict:
        with urllib.request.urlopen(f"{self.address}{path}", timeout=60) as answer:
            return dict(json.load(answer))

    def infer(self, model: str, folder: Path, *, send: Path | None = None, **knobs: object) -> Path:
        """The file that comes back for a label map of the studies, or for one sent along."""
        border = uuid.uuid4().hex
        parts = [('name="params"', json.dumps({"device": "cpu", **knobs}).encode())]
        if send is not None:
            parts.append((f'name="file"; filename="{send.name}"', send.read_bytes()))
        body = b"".join(
            f"--{border}\r\nContent-Disposition: form-data; {name}\r\n\r\n".encode() + content + b"\r\n"
            for name, content in parts
        )
        query = {"output": "image"} | ({} if send else {"image": self.mask.name.removesuffix(".nii.gz")})
        request = urllib.request.Request(
            f"{self.address}/infer/{model}?{urllib.parse.urlencode(query)}",
            data=body + f"--{border}--\r\n".encode(),
            headers={"Content-Type": f"multipart/form-data; boundary={border}"},
        )
        path = folder / f"{uuid.uuid4().hex}.nii.gz"
        with urllib.request.urlopen(request, timeout=300) as answer:
            path.write_bytes(answer.read())
        return path


def write_other_bundle(folder: Path) -> None:
    """A bundle with a package named ``scripts``, as the zoo's have it."""
    (folder / "scripts").mkdir(parents=True)
    (folder / "scripts" / "__init__.py").touch()
    (folder / "scripts" / "invert.py").write_text(OTHER_SCRIPT)
    (folder / "models").mkdir()
    torch.save({"most": torch.full((1,), 7.0)}, folder / "models" / "model.pt")
    image = {
        "type": "image",
        "num_channels": 1,
        "spatial_shape": ["*", "*", "*"],
        "channel_def": {"0": "image"},
    }
    config = {
        "imports": ["$import scripts.invert"],
        "device": "cpu",
        "network_def": {"_target_": "scripts.invert.Invert"},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "EnsureTyped", "keys": "image", "dtype": "$__import__('torch').float32"},
            ],
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "EnsureTyped", "keys": "pred"}],
        },
    }
    metadata = {
        "version": "1.0.0",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": image}},
    }
    (folder / "configs").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))


@pytest.fixture(scope="module")
def server(host_work: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two bundles, on a free port of this machine alone."""
    work = host_work("label")
    studies = tmp_path_factory.mktemp("studies")
    label = np.zeros((64, 64, 48), np.uint8)
    label[20:34, 22:36, 16:28] = 2
    label[25:30, 26:32, 20:25] = 3
    mask = studies / "mask.nii.gz"
    write_volume(mask, Volume(data=label, affine=np.diag([-3.0, -3.0, 3.0, 1.0])))
    write_other_bundle(studies.parent / OTHER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["bash", str(ROOT / "scripts" / "label" / "serve.sh"), str(studies), "--host", "127.0.0.1"]
    environment = {**os.environ, "LABEL_WORK": str(work), "LABEL_BESIDE": str(studies.parent / OTHER)}
    log = work / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", mask)
    try:
        for _ in range(240):
            try:
                server.get("/info/")
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, log.read_text()[-3000:]
                time.sleep(1)
        yield server
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def expected(mask: Path, contrast: str, **knobs: object) -> NDArray[np.float32]:
    """The same label map through the overlay, here."""
    config = ConfigParser()
    config.read_config([str(CONFIGS / name) for name in ("inference.yaml", "label.yaml")])
    config.update({"device": "cpu"} | {f"displayable_configs#{name}": value for name, value in knobs.items()})
    config.update({"displayable_configs#contrast": contrast})
    item = config.get_parsed_content("preprocessing")({"image": str(mask)})
    item["pred"] = config.get_parsed_content("inferer")(
        item["image"][None], config.get_parsed_content("network")
    )[0]
    return np.asarray(config.get_parsed_content("postprocessing")(item)["pred"][0])


def test_clients_are_shown_what_they_may_set(server: Server) -> None:
    models = server.get("/info/")["models"]
    assert models.keys() == {OURS, OTHER}
    assert models[OURS]["config"]["contrast"] == list(CONTRASTS) and models[OURS]["config"]["seed"] == 0


def test_the_contrast_asked_for_comes_back_where_the_mask_lies(server: Server, tmp_path: Path) -> None:
    """A reader who asks for t2f and is shown t1c, or a scan flipped under the lesion, is misled."""
    there = read_volume(server.mask)
    for contrast in ("t1c", "t2f"):
        path = server.infer(OURS, tmp_path, contrast=contrast, steps=2, seed=5)
        scan = read_volume(path)
        assert scan.data.dtype == np.float32 and scan.data.shape == there.data.shape
        assert np.allclose(scan.affine, there.affine)
        apart = np.abs(scan.data - expected(server.mask, contrast, steps=2, seed=5))
        assert apart.mean() < 1e-3, "the same scan but for half precision on other threads"
    again = server.infer(OURS, tmp_path, contrast="t2f", steps=2, seed=5)
    assert np.array_equal(read_volume(again).data, scan.data), "the same seed is the same scan"
    other = server.infer(OURS, tmp_path, contrast="t2f", steps=2, seed=6)
    assert not np.array_equal(read_volume(other).data, scan.data)


def test_bundles_side_by_side_do_not_disturb_each_other(server: Server, tmp_path: Path) -> None:
    """Every bundle of the zoo has a package named ``scripts``; a server holds several."""
    before = read_volume(server.infer(OURS, tmp_path, contrast="t2w", steps=2)).data
    sent = tmp_path / "sent.nii.gz"
    write_volume(sent, read_volume(server.mask))
    inverted = read_volume(server.infer(OTHER, tmp_path, send=sent)).data
    assert np.array_equal(inverted, 7.0 - read_volume(sent).data)
    after = read_volume(server.infer(OURS, tmp_path, send=sent, contrast="t2w", steps=2)).data
    assert np.array_equal(before, after) and before.std() > 0.05
