"""Parts of ``guidance_study.py``."""
