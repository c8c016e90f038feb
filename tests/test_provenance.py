"""A card that fits any weights, or a patient seen in training and again in testing, makes every number worthless."""

from pathlib import Path

import pytest

from gliomagen.errors import GliomaGenError
from gliomagen.files import read_json
from gliomagen.provenance import CardWriter, patient_hash, read_card, refuse_training_patients


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    write = CardWriter(
        architecture={"channels": [32, 64]},
        geometry={"spatial_size": [64, 64, 48]},
        cohort_sha256="c0",
        patients=["BraTS-GLI-00005", "BraTS-GLI-00007", "BraTS-GLI-00005"],
        more={"note": "demonstration"},
    )
    write(path, 40)
    return path


def test_a_card_tells_what_made_the_weights(weights: Path) -> None:
    card = read_card(weights)
    assert card["architecture"] == {"channels": [32, 64]}
    assert card["steps"] == 40
    assert card["note"] == "demonstration"
    assert "terms of the training data apply" in card["data_terms"]
    assert len(card["training_patients"]) == 2


def test_patients_are_not_named_in_it(weights: Path) -> None:
    text = weights.with_suffix(".json").read_text()
    assert "00005" not in text
    assert patient_hash("BraTS-GLI-00005") in text


def test_a_card_of_other_weights_is_refused(weights: Path) -> None:
    weights.write_bytes(b"other weights")
    with pytest.raises(
        GliomaGenError, match=r"model\.pt: is not the file its card model\.json was written for"
    ):
        read_card(weights)


def test_a_missing_card_is_told(tmp_path: Path) -> None:
    (tmp_path / "bare.pt").write_bytes(b"x")
    with pytest.raises(GliomaGenError, match=r"bare\.json: not found"):
        read_card(tmp_path / "bare.pt")


def test_a_training_patient_is_refused_by_name(weights: Path) -> None:
    refuse_training_patients(["BraTS-GLI-00006"], [weights])
    with pytest.raises(GliomaGenError, match=r"model\.pt: was trained on patient BraTS-GLI-00007"):
        refuse_training_patients(["BraTS-GLI-00006", "BraTS-GLI-00007"], [weights])


def test_the_hash_of_a_patient_never_changes(weights: Path) -> None:
    """Cards written once are compared with names for years."""
    assert patient_hash("BraTS-GLI-00005") == "75453c92c3c68235"
    assert read_json(weights.with_suffix(".json"))["training_patients"] == sorted(
        [patient_hash("BraTS-GLI-00005"), patient_hash("BraTS-GLI-00007")]
    )
