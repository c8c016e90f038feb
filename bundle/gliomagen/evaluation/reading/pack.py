"""A blinded pack: real and synthetic scans under numbers, as a page that opens from disk.

The pack's folder goes to the readers; ``key.json`` stays. Order and choice depend on the seed alone.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, select_autoescape
from tqdm import tqdm

from ... import __version__
from ...errors import GliomaGenError
from ...files import content_sha256, read_json, write_json, written_whole
from ...labels import HEAD, LESION
from ...pictures import LABEL_COLOURS, LABEL_SHORT_NAMES, radiological
from ...randomness import numpy_generator
from ...scans import Scan, ScanFiles, read_scan

logger = logging.getLogger(__name__)

KEY_FILE = "key.json"
FOLDER = "reader"
_HERE = Path(__file__).parent


class ReadingPack:
    """Makes the pack of a reader study.

    Args:
        output_dir: Gets ``reader/`` (for the readers) and ``key.json`` (not for them).
        real: Real scans to choose from.
        synthetic: Synthetic scans to choose from.
        contrasts: The channels.
        cases: Scans in the pack, half of them real.
        repeated: So many of them are shown a second time, to see whether a reader agrees with himself.
        seed: Decides choice and order.

    Raises:
        GliomaGenError: There are not enough scans, or the numbers make no study.
    """

    def __init__(
        self,
        *,
        output_dir: str | Path,
        real: Sequence[ScanFiles],
        synthetic: Sequence[ScanFiles],
        contrasts: Sequence[str],
        cases: int = 30,
        repeated: int = 4,
        seed: int = 0,
    ) -> None:
        if cases < 2 or not 0 <= repeated <= cases:
            raise GliomaGenError(
                f"cases {cases}, repeated {repeated}: at least 2 cases, of which some are repeated"
            )
        for what, scans, wanted in (
            ("real", real, cases - cases // 2),
            ("synthetic", synthetic, cases // 2),
        ):
            if len(scans) < wanted:
                raise GliomaGenError(f"{len(scans)} {what} scans for a study of {cases}; {wanted} are needed")
        self.output_dir = Path(output_dir)
        self.contrasts = tuple(contrasts)
        self.seed = seed
        generator = numpy_generator(seed, "reader study")
        chosen = [(False, real[k]) for k in generator.permutation(len(real))[: cases - cases // 2]]
        chosen += [(True, synthetic[k]) for k in generator.permutation(len(synthetic))[: cases // 2]]
        chosen += [chosen[k] for k in generator.permutation(len(chosen))[:repeated]]
        self.items = [chosen[k] for k in generator.permutation(len(chosen))]

    def run(self) -> Path:
        """Writes the pack; returns its page.

        Raises:
            GliomaGenError: The folder holds another pack, or a scan cannot be read.
        """
        key = {
            "format": "gliomagen-reader-key",
            "package_version": __version__,
            "seed": self.seed,
            "contrasts": list(self.contrasts),
            "items": [
                {"item": _name(number), "synthetic": synthetic, "case": files.case}
                for number, (synthetic, files) in enumerate(self.items)
            ],
        }
        # The study's name ties answers to the key and tells a reader nothing.
        key["study"] = content_sha256(key)[:12]
        path = self.output_dir / KEY_FILE
        if path.is_file() and read_json(path).get("study") != key["study"]:
            raise GliomaGenError(f"{path}: belongs to another study; choose another output_dir")
        write_json(path, key)
        sizes = []
        for number, (_, files) in enumerate(
            tqdm(self.items, desc="packing", unit="scan", dynamic_ncols=True)
        ):
            sizes.append(self._write(_name(number), read_scan(files)))
        environment = Environment(loader=FileSystemLoader(_HERE), autoescape=select_autoescape(default=True))
        page = environment.get_template("page.html.j2").render(
            contrasts=self.contrasts,
            legend=[(LABEL_SHORT_NAMES[n], c) for n, c in LABEL_COLOURS.items() if HEAD < n < LESION],
            data=json.dumps(
                {
                    "study": key["study"],
                    "contrasts": self.contrasts,
                    "colours": {str(n): colour for n, colour in LABEL_COLOURS.items() if n > HEAD},
                    "items": [{"item": _name(number), "size": size} for number, size in enumerate(sizes)],
                }
            ).replace("<", "\\u003c"),
            css=(_HERE / "page.css").read_text(encoding="utf-8"),
            js=(_HERE / "page.js").read_text(encoding="utf-8"),
        )
        index = self.output_dir / FOLDER / "index.html"
        with written_whole(index) as beside:
            beside.write_text(page, encoding="utf-8")
        logger.info("%s: %d scans for the readers; %s is not for them", index, len(self.items), path)
        return index

    def _write(self, item: str, scan: Scan) -> list[int]:
        """Writes greys and labels slice by slice as a reader looks at them, and returns (slices, height, width)."""
        greys = np.stack([radiological(np.moveaxis(grey, 2, 0)) for grey in scan.volume])  # (C, Z, Y, X)
        labels = radiological(np.moveaxis(scan.label, 2, 0))
        pixels = {
            "greys": (greys.clip(0, 1) * 255).round().astype(np.uint8),
            "labels": labels.astype(np.uint8),
        }
        packed = {
            name: base64.b64encode(gzip.compress(np.ascontiguousarray(data).tobytes(), 9, mtime=0)).decode()
            for name, data in pixels.items()
        }
        with written_whole(self.output_dir / FOLDER / "scans" / f"{item}.js") as beside:
            beside.write_text(f"study.receive({json.dumps(item)}, {json.dumps(packed)});\n", encoding="utf-8")
        return [int(length) for length in labels.shape]


def _name(number: int) -> str:
    return f"R{number + 1:03d}"
