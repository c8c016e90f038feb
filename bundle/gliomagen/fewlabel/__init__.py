"""Segmentation from a handful of labels, with the generator's own features."""
