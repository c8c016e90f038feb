"""GliomaGen: one generator of glioma MRI, and everything people do with it."""

from pathlib import Path

__version__ = "0.1.0"

BUNDLE_ROOT = str(Path(__file__).resolve().parents[1])
"""The bundle's folder: what holds ``configs/`` and ``models/``, wherever a workflow is started from."""
