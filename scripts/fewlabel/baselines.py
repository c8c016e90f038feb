"""Supervised baselines on exactly the same labelled slices: the quick network, and nnU-Net in 2-D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from monai.bundle import ConfigParser

from gliomagen.cohort.datalist import datalist
from gliomagen.fewlabel.cases import read_case
from gliomagen.fewlabel.samples import Sample
from gliomagen.volume import Volume, read_volume, write_volume
from quality.runs import run, write_cohort

from .arms import CONFIGS
from .scores import Found

CHANNELS = [32, 64, 128, 192]
NNUNET = {"configuration": "2d", "trainer": "nnUNetTrainer_few", "augmentation_processes": 0, "processes": 1}


def one_slice_cases(
    cohort: Path, samples: Sequence[Sample], contrasts: Sequence[str], folder: Path
) -> list[dict[str, str]]:
    """Writes slices as cases of one slice; returns their entries."""
    entries = {str(entry["case"]): entry for entry in datalist(cohort, "all", contrasts)}
    made = []
    for sample in samples:
        entry = {"case": sample.name, "patient": str(entries[sample.case]["patient"])}
        affine = read_volume(entries[sample.case]["label"]).to_ras().affine
        arrays = {**dict(zip(contrasts, sample.image.numpy(), strict=True)), "label": sample.label.numpy()}
        for name, array in arrays.items():
            path = folder / sample.name / f"{sample.name}-{'seg' if name == 'label' else name}.nii.gz"
            if not path.is_file():
                write_volume(path, Volume(data=array[..., None], affine=affine))
            entry[name] = str(path.absolute())
        made.append(entry)
    return made


def quick(
    cohort: Path,
    labelled: Sequence[Sample],
    wanted: Mapping[str, Sequence[Sample]],
    contrasts: Sequence[str],
    work: Path,
    *,
    seed: int,
    max_steps: int,
) -> Found:
    """Trains the network of ``segmenter.yaml`` on the slices; returns what it finds in those wanted."""
    test = datalist(cohort, "validation", contrasts)
    cases = one_slice_cases(cohort, labelled, contrasts, work.parent / "slices")
    own = write_cohort(work / "cohort", cohort, training=cases, validation=test[:1], contrasts=contrasts)
    run(
        *("training", ["segmenter", "segmenter_slices"], work / "training.log"),
        dataset_dir=str(own),
        output_dir=str(work / "run"),
        max_steps=max_steps,
        decay_from=400,
        checkpoint_interval=250,
        sample_interval=10**6,
        num_workers=0,
        seed=seed,
        contrasts=list(contrasts),
    )
    parser = ConfigParser(ConfigParser.load_config_file(CONFIGS / "evaluate.yaml"))
    told = {"features": str(work / "run" / "model.pt"), "contrasts": list(contrasts)}
    parser.update({**told, "spatial_dims": 2, "channels": CHANNELS})
    segment = parser.get_parsed_content("segment")
    names = {sample.name: sample.case for samples in wanted.values() for sample in samples}
    found = {}
    for entry in test:
        whole = segment(read_case(entry, contrasts, labelled=False).image.numpy())
        for name, case in names.items():
            if case == entry["case"]:
                found[name] = whole[..., int(name.rsplit("-", 1)[1])]
    return found


def nnunet(
    cohort: Path,
    labelled: Sequence[Sample],
    wanted: Mapping[str, Sequence[Sample]],
    contrasts: Sequence[str],
    work: Path,
    *,
    seed: int,
) -> Found:
    """Trains nnU-Net in 2-D on the slices, by ``studying``; returns what it finds in those wanted."""
    slices = work.parent / "slices"
    every = [sample for samples in wanted.values() for sample in samples]
    cases, test = (one_slice_cases(cohort, some, contrasts, slices) for some in (labelled, every))
    own = write_cohort(work / "cohort", cohort, training=cases, validation=test, contrasts=contrasts)
    run(
        *("studying", ["study"], work / "study.log"),
        real_dir=str(own),
        synthetic_dirs=[],
        output_dir=str(work / "study"),
        arms=["real"],
        seeds=[seed],
        segmenter="nnunet",
        labels="prepared",
        contrasts=list(contrasts),
        trainers_dir=str(Path(__file__).with_name("trainers").absolute()),
        device="cpu",
        **NNUNET,
    )
    files = (work / "study" / "arms" / "real" / f"seed-{seed}" / "predictions").glob("*.nii.gz")
    return {
        path.name.removesuffix(".nii.gz"): np.asarray(read_volume(path).to_ras().data[..., 0], np.uint8)
        for path in files
    }
