"""The quality benchmark: what ``scripts/quality_benchmark.py`` runs."""
