"""Reading and writing NIfTI: geometry in, geometry out, fresh headers."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import aff2axcodes, apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from .errors import GliomaGenError
from .files import written_whole

Array = NDArray[np.generic]


@dataclass(frozen=True, kw_only=True)
class Volume:
    """An image with its place in the world.

    Attributes:
        data: Voxels, shape (X, Y, Z) or (X, Y, Z, C).
        affine: (4, 4), voxel indices to millimetres in RAS+ world space.
    """

    data: Array
    affine: NDArray[np.float64]

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in mm."""
        return tuple(np.linalg.norm(self.affine[:3, :3], axis=0).tolist())  # type: ignore[return-value]

    @property
    def orientation(self) -> str:
        """Direction each axis points to, for example ``RAS``."""
        return "".join(code or "?" for code in aff2axcodes(self.affine))

    def to_ras(self) -> Volume:
        """Returns the same voxels with the axes permuted and flipped to closest RAS+; no resampling."""
        return self.oriented_like(np.eye(4))

    def oriented_like(self, affine: NDArray[np.float64]) -> Volume:
        """Returns the same voxels with the axes permuted and flipped to the orientation of ``affine``."""
        turn = ornt_transform(io_orientation(self.affine), io_orientation(affine))
        data = apply_orientation(self.data, turn)
        turned = self.affine @ inv_ornt_aff(turn, self.data.shape[:3])
        return Volume(data=np.ascontiguousarray(data), affine=turned)


def read_header(path: str | Path) -> nib.Nifti1Image:
    """Opens a NIfTI file without reading its voxels.

    Raises:
        GliomaGenError: It is missing or not a NIfTI file.
    """
    if not Path(path).is_file():
        raise GliomaGenError(f"{path}: not found")
    try:
        image = nib.load(path)
    except Exception as error:  # nibabel raises many kinds for a broken file; each means the same to the user
        raise GliomaGenError(f"{path}: not readable as NIfTI ({_short(error)}); fetch it again") from error
    if not isinstance(image, nib.Nifti1Image):  # Nifti2Image derives from it
        raise GliomaGenError(f"{path}: not a NIfTI file; convert it to .nii.gz")
    return image


def read_volume(path: str | Path) -> Volume:
    """Reads every voxel of a NIfTI file, with its scaling applied; gzip checksums are verified.

    The affine is nibabel's choice: sform if set, else qform.

    Args:
        path: ``.nii`` or ``.nii.gz``.

    Returns:
        The volume: stored dtype where no scaling applies (big-endian becomes native), else float.

    Raises:
        GliomaGenError: Missing, not NIfTI, truncated or damaged.
    """
    image = read_header(path)
    try:
        data = np.asanyarray(image.dataobj)
        if str(path).endswith(".gz"):
            _verify_gzip(path)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise GliomaGenError(f"{path}: truncated or damaged ({_short(error)}); fetch it again") from error
    data = data.astype(data.dtype.newbyteorder("="), copy=False)
    return Volume(data=data, affine=np.asarray(image.affine, np.float64))


def write_volume(path: str | Path, volume: Volume, *, about: str = "") -> None:
    """Writes a NIfTI file with a fresh header that holds geometry only, whole or not at all.

    Args:
        path: ``.nii`` or ``.nii.gz``; the folder is made.
        volume: Its dtype is stored as it is (bool as uint8); sform and qform are both set to the affine.
        about: The header's description, up to 79 letters.
    """
    data = volume.data.astype(np.uint8) if volume.data.dtype == bool else volume.data
    image = nib.Nifti1Image(data, volume.affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = about.encode()
    image.set_sform(volume.affine, code=1)
    image.set_qform(volume.affine, code=1)
    with written_whole(path) as beside:
        nib.save(image, beside)


def _verify_gzip(path: str | Path) -> None:
    """Reads to the end of the stream, where the checksum stands: a flipped bit in the voxels shows only there."""
    import gzip

    with gzip.open(path, "rb") as file:
        while file.read(1 << 22):
            pass


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
