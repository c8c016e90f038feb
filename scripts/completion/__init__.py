"""Parts of ``completion_study.py``."""
