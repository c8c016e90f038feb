"""Judging synthetic cohorts: fidelity, diversity, mask faithfulness, privacy, downstream benefit; one report."""
