"""Weights and their card from one form of file to another: ``.pt``, as MONAI reads them, and ``.safetensors``, for hubs."""

from __future__ import annotations

from pathlib import Path

from .errors import GliomaGenError
from .files import file_sha256, write_json
from .provenance import card_path, read_card
from .weights import SAFETENSORS, read_state, write_state

FORMS = ("pt", SAFETENSORS[1:])


def convert_weights(weights: str | Path, output_dir: str | Path, *, form: str) -> Path:
    """Writes the same tensors in another form, with the card they had.

    Args:
        weights: ``.pt`` or ``.safetensors``, its card beside it.
        output_dir: Where.
        form: One of :data:`FORMS`.

    Returns:
        The new file.

    Raises:
        GliomaGenError: The form is not known, the weights or their card are not there or not readable, or the result
            would lie on the source.
    """
    if form not in FORMS:
        raise GliomaGenError(f"form '{form}' is not known; choose among {list(FORMS)}")
    card, state = read_card(weights), read_state(weights)
    target = Path(output_dir) / f"{Path(weights).stem}.{form}"
    if card_path(target).resolve() == card_path(weights).resolve():
        raise GliomaGenError(f"{target}: its card would replace that of {weights}; choose another output_dir")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_state(target, state)
    made = {"weights": target.name, "sha256": file_sha256(target), "converted_from": card["sha256"]}
    write_json(card_path(target), {**card, **made})
    return target
