"""The work on one case: check it, prepare it, and know what is done and still true.

On disk, below the cohort's folder: ``.checks/<case>.json`` is what checking found, true as long as size and time of
the source files and the package version are those it was made with; ``<case>/case.json`` is written last, so a case
is finished or absent, and true as long as the sources' sha256, the transforms and the package version are;
``.checks/<case>.failed.json`` says the same of a case that the transforms refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Compose

from .. import __version__
from ..errors import GliomaGenError
from ..files import content_sha256, file_sha256, read_json, write_json
from ..labels import convention
from ..volume import Volume, write_volume
from .findings import ERROR, Finding
from .integrity import CaseCheck, check_case, lesion_mm3
from .layouts import HEAD_MAP, LABEL, CaseFiles, Layout, Source

COHORT_FILE = "cohort.json"


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A check that is true now.

    Attributes:
        check: What it found.
        sha256: Of each source file, by contrast and ``label``; None where it could not be read.
    """

    check: CaseCheck
    sha256: Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class CaseWork:
    """Everything the work on any case needs; sent once to each worker process.

    Attributes:
        dataset_dir: The challenge folder.
        output_dir: The cohort's folder.
        layout: How the challenge names its files.
        contrasts: To prepare, in our order.
        label_convention: Name of the convention of the label maps.
        transforms: The deterministic list, from file names to the prepared case.
        transform_config: Their plain description.
        spatial_size: What they make; None leaves an axis open.
        allow_missing_contrasts: Whether a case may lack some.
        allow_missing_labels: Whether it may lack a label map; the head's is made then.
    """

    dataset_dir: Path
    output_dir: Path
    layout: Layout
    contrasts: tuple[str, ...]
    label_convention: str
    transforms: Compose
    transform_config: Any
    spatial_size: tuple[int | None, ...]
    allow_missing_contrasts: bool
    allow_missing_labels: bool

    def check(self, files: CaseFiles) -> None:
        """Checks a case and stores what was found."""
        key = self._check_key(files)
        check = check_case(
            files,
            contrasts=self.contrasts,
            convention=convention(self.label_convention),
            expected=self.layout.expected,
            root=self.dataset_dir,
            allow_missing_contrasts=self.allow_missing_contrasts,
            allow_missing_labels=self.allow_missing_labels,
        )
        hashes = {path: _sha256(path) for path in {source.path for source in files.sources.values()}}
        sha256 = {name: hashes[source.path] for name, source in files.sources.items()}
        content = {"key": key, "sha256": sha256, "check": check.to_json()}
        write_json(self._checks(files.case, ".json"), content)

    def checked(self, files: CaseFiles) -> Checked | None:
        """Returns the stored check, or None if there is none that is true now."""
        content = _stored(self._checks(files.case, ".json"))
        if content is None or content["key"] != self._check_key(files):
            return None
        return Checked(check=CaseCheck.from_json(content["check"]), sha256=content["sha256"])

    def prepare(self, files: CaseFiles, checked: Checked) -> None:
        """Prepares a case that passed, and stores it; or stores that the transforms refused it.

        Raises:
            GliomaGenError: The machine is at fault, not the case: no space, no memory.
        """
        # The list of an earlier run must not name a case that is being redone.
        (self.output_dir / COHORT_FILE).unlink(missing_ok=True)
        self.clear(files.case)
        key = self._prepared_key(files, checked)
        try:
            prepared: Mapping[Any, Any] = self.transforms(files.data(self.contrasts))
            self._require_spatial_size(prepared)
        except Exception as error:  # one bad case must not cost the others, whatever a transform raises
            if fault := _machine_fault(error):
                raise GliomaGenError(f"{files.case}: {fault}") from error
            message = _reason(error).replace(f"{self.dataset_dir}/", "")
            write_json(self._checks(files.case, ".failed.json"), {"key": key, "message": message})
            return
        try:
            self._write(files, key, prepared)
        except BaseException:
            self.clear(files.case)
            raise

    def prepared(self, files: CaseFiles, checked: Checked) -> dict[str, Any] | Finding | None:
        """Returns the stored result, the error if the transforms refused, or None if neither is true now."""
        case = files.case
        key = self._prepared_key(files, checked)
        failed = _stored(self._checks(case, ".failed.json"))
        if failed is not None and failed["key"] == key:
            return Finding(case=case, level=ERROR, code="preparation_failed", message=failed["message"])
        stored = _stored(self.output_dir / case / "case.json")
        names = self.made(files)
        if (
            stored is None
            or stored["key"] != key
            or not all(self.file(case, name).is_file() for name in names)
        ):
            return None
        return stored

    def made(self, files: CaseFiles) -> list[str]:
        """Returns what is prepared of a case: its contrasts, and the label map or the head's."""
        there = [contrast for contrast in self.contrasts if contrast in files.sources]
        return [*there, LABEL if LABEL in files.sources else HEAD_MAP]

    def file(self, case: str, name: str) -> Path:
        """Returns where the prepared scan of a contrast, ``label`` or ``head`` stands."""
        return self.output_dir / case / f"{case}-{'seg' if name == LABEL else name}.nii.gz"

    def clear(self, case: str) -> None:
        """Removes what an earlier run made of a case, and nothing else; ``case.json`` first."""
        folder = self.output_dir / case
        (folder / "case.json").unlink(missing_ok=True)
        self._checks(case, ".failed.json").unlink(missing_ok=True)
        for name in (*self.contrasts, LABEL, HEAD_MAP):
            self.file(case, name).unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def _write(self, files: CaseFiles, key: str, prepared: Mapping[Any, Any]) -> None:
        case = files.case
        label = prepared[LABEL]
        affine = np.asarray(label.affine, np.float64)
        labels = np.asarray(label)[0].astype(np.uint8)  # (X, Y, Z)
        for name in self.contrasts:
            if name in prepared:
                data = np.asarray(prepared[name])[0].astype(np.float32)  # (X, Y, Z)
                write_volume(self.file(case, name), Volume(data=data, affine=affine))
        volume = Volume(data=labels, affine=affine)
        write_volume(self.file(case, self.made(files)[-1]), volume)
        ranges = prepared.get("intensity_range", {})
        content = {
            "key": key,
            "geometry": {
                "affine": affine.tolist(),
                "spatial_size": list(labels.shape),
                "voxel_mm": [round(size, 6) for size in volume.voxel_mm],
            },
            "intensity_range": {name: [float(value) for value in ranges[name]] for name in ranges},
            "cut_off": {name: float(value) for name, value in prepared.get("cut_off", {}).items()},
            "lesion_mm3": lesion_mm3(labels, affine),
        }
        write_json(self.output_dir / case / "case.json", content)

    def _require_spatial_size(self, prepared: Mapping[Any, Any]) -> None:
        shape = tuple(prepared[LABEL].shape[1:])
        if any(wanted not in (None, size) for wanted, size in zip(self.spatial_size, shape, strict=True)):
            raise GliomaGenError(f"the transforms end at {shape}, but spatial_size is {self.spatial_size}")

    def _checks(self, case: str, suffix: str) -> Path:
        return self.output_dir / ".checks" / f"{case}{suffix}"

    def _check_key(self, files: CaseFiles) -> str:
        def state(source: Source) -> list[Any]:
            path = source.path
            try:
                now = path.stat()
            except OSError:  # a link to nowhere: checking says so
                return [path.relative_to(self.dataset_dir).as_posix(), source.channel]
            return [
                path.relative_to(self.dataset_dir).as_posix(),
                source.channel,
                now.st_size,
                now.st_mtime_ns,
            ]

        return content_sha256(
            {
                "package_version": __version__,
                "sources": {name: state(source) for name, source in files.sources.items()},
                "ignored": [path.name for path in files.ignored],
                "contrasts": self.contrasts,
                "label_convention": self.label_convention,
                "allow_missing_contrasts": self.allow_missing_contrasts,
                "allow_missing_labels": self.allow_missing_labels,
                "expected": [self.layout.expected(name) for name in (*self.contrasts, LABEL)],
            }
        )

    def _prepared_key(self, files: CaseFiles, checked: Checked) -> str:
        return content_sha256(
            {
                "package_version": __version__,
                "sources": {
                    name: [checked.sha256[name], files.sources[name].channel] for name in files.sources
                },
                "contrasts": self.contrasts,
                "label_convention": self.label_convention,
                "spatial_size": self.spatial_size,
                "transforms": self.transform_config,
            }
        )


def _stored(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path)
    except GliomaGenError:  # absent, or damaged: it is made again
        return None
    return content if isinstance(content, dict) and "key" in content else None


def _sha256(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _machine_fault(error: BaseException) -> str | None:
    """Says so if not the case is at fault but the machine: trying again may help."""
    for cause in _chain(error):
        if isinstance(cause, MemoryError) or "allocate memory" in str(cause):
            return "out of memory; run again with fewer num_workers, finished cases are kept"
        if isinstance(cause, OSError):
            return (
                f"{cause.filename or 'a file'}: {cause.strerror or cause}; run again, finished cases are kept"
            )
    return None


def _reason(error: BaseException) -> str:
    """The line to show: a message meant for the user if there is one, else the first cause and its kind."""
    chain = list(_chain(error))
    for cause in chain:
        if isinstance(cause, GliomaGenError):
            return str(cause)
    first = " ".join(str(chain[-1]).split())
    return f"a transform failed ({type(chain[-1]).__name__}: {first[:200]})"
