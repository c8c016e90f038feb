"""A MONAI Deploy application: label maps in, four contrasts of each out, as ``inferring`` writes them.

``python app.py --input MASKS --output FOLDER --model BUNDLE``, or the variables that a MONAI Application Package sets.
BUNDLE: what ``scripts/package.py --unpacked FOLDER --overlay deploy`` writes. Label map loader, the SDK's operator for
bundles, NIfTI writer; finished cases are not made again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from holoscan.conditions import CountCondition
from monai.bundle import ConfigParser
from monai.deploy.core import (
    AppContext,
    Application,
    Fragment,
    Image,
    IOType,
    Operator,
    OperatorSpec,
    init_app_context,
)
from monai.deploy.operators.monai_bundle_inference_operator import IOMapping, MonaiBundleInferenceOperator


class LabelMapLoader(Operator):
    """Emits one label map a tick: (X, Y, Z), axes to RAS+, with its affine, file and case.

    Args:
        fragment: The application.
        *args: Conditions.
        entries: ``image`` (a NIfTI path) and ``case``.
        **kwargs: Of every operator.
    """

    def __init__(
        self, fragment: Fragment, *args: Any, entries: Sequence[Mapping[str, Any]], **kwargs: Any
    ) -> None:
        self.left = iter(entries)
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declares the port."""
        spec.output("image")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Reads the next label map."""
        from gliomagen.cohort.loading import LoadVolume, affine_of

        entry = next(self.left)
        label = LoadVolume(label=True)(entry["image"])
        affine = affine_of(label)
        known = {"case": entry["case"], "filename_or_obj": label.meta["filename_or_obj"]}
        geometry = {
            "affine": affine,
            "original_affine": affine,
            "spacing": np.linalg.norm(affine[:3, :3], axis=0),
        }
        channel = {"original_channel_dim": "no_channel", "spatial_shape": np.array(label.shape[1:])}
        op_output.emit(Image(np.asarray(label[0]), {**known, **geometry, **channel}), "image")


class SynthesisOperator(MonaiBundleInferenceOperator):
    """The SDK's operator, each case with noise of its own, as ``inferring`` draws it."""

    @property
    def network_calls(self) -> int:
        """Forward passes of the last case."""
        return int(self._inferer.network_calls)

    def predict(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Synthesizes (1, 4, X, Y, Z) for a label map (1, 1, X, Y, Z)."""
        return super().predict(data, *args, case_ids=[data.meta["case"]], **kwargs)


class CaseWriterOperator(Operator):
    """Writes the contrasts of a case, and last the sidecar that says what made them.

    Args:
        fragment: The application.
        *args: Conditions.
        save: Takes ``pred``, ``case`` and ``mask_file`` (:class:`gliomagen.export.cases.SaveSynthetic`).
        **kwargs: Of every operator.
    """

    def __init__(
        self, fragment: Fragment, *args: Any, save: Callable[[dict[str, Any]], Any], **kwargs: Any
    ) -> None:
        self.save = save
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declares the ports."""
        spec.input("image")
        spec.input("pred")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Writes one case."""
        meta = op_input.receive("image").metadata()
        self.save(
            {"pred": op_input.receive("pred"), "case": meta["case"], "mask_file": meta["filename_or_obj"]}
        )


class SynthesisApplication(Application):
    """Loader, bundle, writer.

    Args:
        context: Of the SDK.
        bundle: What ``scripts/package.py`` has unpacked.
        writer: Of the bundle's config.
        entries: Label maps, as ``LabelMapLoader`` takes them.
    """

    def __init__(
        self, *, context: AppContext, bundle: Path, writer: Any, entries: Sequence[Mapping[str, Any]]
    ) -> None:
        self.context = context
        self.bundle = bundle
        self.writer = writer
        self.entries = entries
        super().__init__([sys.executable, sys.argv[0]])  # or it reads the command line, too

    def compose(self) -> None:
        """Connects the operators."""
        from gliomagen.export.cases import SaveSynthetic
        from gliomagen.volume import read_header

        loader = LabelMapLoader(
            self, CountCondition(self, len(self.entries)), entries=self.entries, name="loader"
        )
        bundle = SynthesisOperator(
            self,
            app_context=self.context,
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", np.ndarray, IOType.IN_MEMORY)],
            bundle_path=self.bundle,
            name="bundle",
        )
        save = SaveSynthetic(
            writer=self.writer,
            inferer=bundle,
            restore=lambda pred, item: (pred, np.asarray(read_header(item["mask_file"]).affine)),
        )
        writer = CaseWriterOperator(self, save=save, name="writer")
        self.add_flow(loader, bundle, {("image", "image")})
        self.add_flow(loader, writer, {("image", "image")})
        self.add_flow(bundle, writer, {("pred", "pred")})


def main() -> None:
    """Synthesizes what is not finished."""
    context = init_app_context(sys.argv)
    context.models = None  # a folder would pass for a network; the operator loads the bundle's itself
    bundle = Path(context.model_path)
    if not (bundle / "configs" / "inference.json").is_file():
        sys.exit(
            f"{bundle}: is not a packed bundle; write one with scripts/package.py --unpacked FOLDER --overlay deploy"
        )
    sys.path.insert(0, str(bundle))  # for the bundle's own package
    from gliomagen.errors import print_errors_as_one_line

    print_errors_as_one_line()
    config = ConfigParser()
    config.read_config(str(bundle / "configs" / "inference.json"))
    config.update({"dataset_dir": context.input_path, "output_dir": context.output_path})
    writer = config.get_parsed_content("writer")
    entries = writer.pending(config.get_parsed_content("entries"))
    if entries:
        SynthesisApplication(context=context, bundle=bundle, writer=writer, entries=entries).run()


if __name__ == "__main__":
    main()
