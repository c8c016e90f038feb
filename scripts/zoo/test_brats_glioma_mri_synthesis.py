"""For the Model Zoo's ``ci/unit_tests``: run from the zoo's root, with the bundle in ``models/``."""

import os
import shutil
import sys
import tempfile
import unittest

import nibabel as nib
import numpy as np
from monai.bundle import ConfigWorkflow

BUNDLE = os.path.join("models", "brats_glioma_mri_synthesis")
SMALL = {"channels": [8, 8], "network_def#groups": 4, "network_def#head_channels": 8}
CONTRASTS = ("t1c", "t1n", "t2f", "t2w")


def config(name):
    """Returns the path of one of the bundle's configs."""
    return os.path.join(BUNDLE, "configs", name)


def run(config_file, workflow_type, run_id="run", check=False, **options):
    """Runs a workflow as a host does, and returns it."""
    workflow = ConfigWorkflow(
        config_file=config_file,
        workflow_type=workflow_type,
        run_id=run_id,
        logging_file=config("logging.conf"),
        meta_file=config("metadata.json"),
        **options,
    )
    workflow.initialize()
    if check and workflow.check_properties():
        raise ValueError(f"missing properties: {workflow.check_properties()}")
    workflow.run()
    workflow.finalize()
    return workflow


class TestGliomaSynthesis(unittest.TestCase):
    """Phantoms, their preparation, an epoch of training, and scans of their masks."""

    @classmethod
    def setUpClass(cls):
        """Makes the cohort."""
        sys.path.insert(0, BUNDLE)
        cls.folder = tempfile.mkdtemp()
        size, voxel_mm = [48, 56, 48], 4.0
        phantoms, cls.cohort = (os.path.join(cls.folder, name) for name in ("phantoms", "cohort"))
        sizes = {"patients": 3, "spatial_size": size, "voxel_mm": voxel_mm, "num_workers": 0}
        run(config("phantoms.yaml"), None, "simulating", output_dir=phantoms, **sizes)
        grid = {"spatial_size": [48, 48, 32], "voxel_mm": [voxel_mm] * 3, "validation_fraction": 0.34}
        options = {"dataset_dir": phantoms, "output_dir": cls.cohort, "num_workers": 0}
        run(config("prepare.yaml"), None, "preparing", **options, **grid)

    @classmethod
    def tearDownClass(cls):
        """Removes it."""
        shutil.rmtree(cls.folder)

    def test_train(self):
        """An epoch, and the weights of its end."""
        out = os.path.join(self.folder, "run")
        run(
            config("train.json"),
            "train",
            check=True,
            dataset_dir=self.cohort,
            output_dir=out,
            num_workers=0,
            checkpoint_interval=2,
            max_steps=2,
            warmup=1,
            device="cpu",
            **{"train#trainer#max_epochs": 1},
            **SMALL,
        )
        self.assertTrue(os.path.isfile(os.path.join(out, "model.pt")))

    def test_inference(self):
        """The bundle's weights make four contrasts of each mask, on its grid."""
        out = os.path.join(self.folder, "synthetic")
        run(
            config("inference.json"),
            "infer",
            check=True,
            dataset_dir=self.cohort,
            output_dir=out,
            num_workers=0,
            steps=2,
            device="cpu",
        )
        cases = sorted(os.listdir(out))
        self.assertEqual(len(cases), 1)
        mask = nib.load(os.path.join(self.cohort, cases[0], f"{cases[0]}-seg.nii.gz"))
        for contrast in CONTRASTS:
            image = nib.load(os.path.join(out, cases[0], f"{cases[0]}-{contrast}.nii.gz"))
            np.testing.assert_allclose(image.affine, mask.affine)
            voxels, inside = image.get_fdata(), np.asarray(mask.dataobj) > 0
            self.assertEqual(voxels.shape, mask.shape)
            self.assertEqual(voxels[~inside].max(), 0)
            self.assertGreater(voxels[inside].std(), 0.02)


if __name__ == "__main__":
    unittest.main()
