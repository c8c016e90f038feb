"""The report: one folder that opens from disk, pictures before numbers."""
