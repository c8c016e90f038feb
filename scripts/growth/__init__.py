"""Parts of the growth scripts."""
