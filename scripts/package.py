"""Packs the bundle as the Model Zoo takes it: ``python scripts/package.py [--output dist]``.

With ``--unpacked FOLDER`` it is written there as a folder instead, and with ``--overlay label`` (or a YAML file, several if
need be) its ``inference.json`` is ``inference.yaml`` with that overlay: hosts such as MONAI Label read no other file.

``dist/brats_glioma_mri_synthesis_v<version>.zip`` holds the bundle's folder under its zoo name, with ``train.json`` and
``inference.json`` beside the YAML files they are made from: ``monai.bundle.load`` and the zoo's hosts read only JSON.
The same files give the same bytes. Prints the path and its sha256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from monai.bundle import ConfigParser

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"
NAME = "brats_glioma_mri_synthesis"
AS_JSON = ("train", "inference")
LARGEST = 25 * 10**6
"""Bytes of a file that the zoo takes; larger ones it wants linked."""
_LEFT_OUT = ("__pycache__", ".egg-info", ".DS_Store", ".pyc")
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def contents(bundle: Path, overlays: Sequence[str] = ()) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of every file of the packed bundle, sorted by name.

    Args:
        bundle: Its folder.
        overlays: Of ``inference.yaml``, to be part of ``inference.json``: names of the bundle's own, or YAML files.
            What one has under ``packed_metadata`` goes into ``metadata.json``.

    Raises:
        SystemExit: A file is too large, or an overlay or something the zoo asks for is missing.
    """
    found = {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in bundle.rglob("*")
        if path.is_file() and not any(part.endswith(_LEFT_OUT) for part in path.relative_to(bundle).parts)
    }
    for name in AS_JSON:
        files = [bundle / "configs" / f"{name}.yaml"]
        if name == "inference":
            files += [_overlay(bundle, given) for given in overlays]
        content = ConfigParser.load_config_files([str(file) for file in files])
        changed = content.pop("packed_metadata", None)
        found[f"configs/{name}.json"] = _json(content)
        if changed:
            metadata = ConfigParser(json.loads(found["configs/metadata.json"]))
            metadata.update(changed)
            found["configs/metadata.json"] = _json(metadata.config)
    for name in (
        "LICENSE",
        "configs/metadata.json",
        "models/model.pt",
        "docs/README.md",
        "docs/data_license.txt",
    ):
        if name not in found:
            sys.exit(f"{bundle / name}: is missing, and the zoo asks for it")
    for name, content in sorted(found.items()):
        if len(content) > LARGEST:
            sys.exit(
                f"{bundle / name}: {len(content) / 1e6:.1f} MB, the zoo takes {LARGEST / 1e6:.0f}; link it in large_files.yml"
            )
        yield name, content


def _overlay(bundle: Path, given: str) -> Path:
    file = Path(given) if given.endswith((".yaml", ".yml")) else bundle / "configs" / f"{given}.yaml"
    if not file.is_file():
        sys.exit(f"{file}: there is no such overlay; name one of the bundle's configs, or a YAML file")
    return file


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def pack(bundle: Path, output: Path) -> Path:
    """Writes the archive, whole or not at all, and returns its path."""
    version = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"]
    path = output / f"{NAME}_v{version}.zip"
    output.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, content in contents(bundle):
                entry = zipfile.ZipInfo(f"{NAME}/{name}", _NO_TIME)
                entry.external_attr = 0o644 << 16
                entry.create_system = 3  # or the platform shows in the bytes
                archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def unpacked(bundle: Path, folder: Path, overlays: Sequence[str] = ()) -> Path:
    """Writes the packed bundle's files into a folder under its zoo name, in place of what is there; returns that."""
    target = folder / NAME
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{NAME}-") as beside:
        for name, content in contents(bundle, overlays):
            path = Path(beside, "new", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if target.exists():
            target.rename(Path(beside, "old"))
        Path(beside, "new").rename(target)
    return target


def main() -> None:
    """Packs, and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("dist"), help="folder of the archive")
    parser.add_argument("--unpacked", type=Path, help="folder to write the bundle's own folder to, instead")
    parser.add_argument("--overlay", action="append", default=[], help="with --unpacked; may be given again")
    options = parser.parse_args()
    if options.unpacked is not None:
        print(unpacked(BUNDLE, options.unpacked, options.overlay))
        return
    if options.overlay:
        parser.error("--overlay goes with --unpacked: the zoo's archive has none")
    path = pack(BUNDLE, options.output)
    print(
        f"{path}  {path.stat().st_size / 1e6:.1f} MB  sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
    )


if __name__ == "__main__":
    main()
