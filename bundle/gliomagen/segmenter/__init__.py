"""The quick segmentation network: train, predict."""
