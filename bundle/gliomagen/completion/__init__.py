"""Completion of scans: some voxels are given, the label map says what the rest should be."""
