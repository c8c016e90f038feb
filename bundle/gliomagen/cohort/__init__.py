"""Real scans to a checked, prepared, split cohort; and the procedural phantom cohort."""
