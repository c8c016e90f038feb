"""Parts of ``fewlabel_study.py``."""
