"""Growth: burden forecasts, label maps and scans that follow them, and maps of where tumour will be."""
