"""Packs the bundle as the Model Zoo takes it: ``python scripts/package.py [--output dist]``.

With ``--unpacked FOLDER`` it is written there as a folder instead, and with ``--overlay label`` its ``inference.json`` is
``inference.yaml`` with that overlay: hosts such as MONAI Label read no other file.

``dist/brats_glioma_mri_synthesis_v<version>.zip`` holds the bundle's folder under its zoo name, with ``train.json`` and
``inference.json`` beside the YAML files they are made from: ``monai.bundle.load`` and the zoo's hosts read only JSON.
The same files give the same bytes. Prints the path and its sha256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from monai.bundle import ConfigParser

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"
NAME = "brats_glioma_mri_synthesis"
AS_JSON = ("train", "inference")
LARGEST = 25 * 10**6
"""Bytes of a file that the zoo takes; larger ones it wants linked."""
_LEFT_OUT = ("__pycache__", ".egg-info", ".DS_Store", ".pyc")
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def contents(bundle: Path, overlay: str | None = None) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of every file of the packed bundle, sorted by name.

    Args:
        bundle: Its folder.
        overlay: Of ``inference.yaml``, to be part of ``inference.json``.

    Raises:
        SystemExit: A file is too large, or something the zoo asks for is missing.
    """
    found = {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in bundle.rglob("*")
        if path.is_file() and not any(part.endswith(_LEFT_OUT) for part in path.relative_to(bundle).parts)
    }
    for name in AS_JSON:
        names = [name, *([overlay] if overlay and name == "inference" else [])]
        content = ConfigParser.load_config_files([str(bundle / "configs" / f"{part}.yaml") for part in names])
        found[f"configs/{name}.json"] = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
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


def unpacked(bundle: Path, folder: Path, overlay: str | None) -> Path:
    """Writes the packed bundle's files into a folder under its zoo name, in place of what is there; returns that."""
    target = folder / NAME
    shutil.rmtree(target, ignore_errors=True)
    for name, content in contents(bundle, overlay):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return target


def main() -> None:
    """Packs, and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("dist"))
    parser.add_argument("--unpacked", type=Path)
    parser.add_argument("--overlay")
    options = parser.parse_args()
    if options.unpacked is not None:
        print(unpacked(BUNDLE, options.unpacked, options.overlay))
        return
    path = pack(BUNDLE, options.output)
    print(
        f"{path}  {path.stat().st_size / 1e6:.1f} MB  sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
    )


if __name__ == "__main__":
    main()
