"""One module a vendor: its tags or sidecar text to a calibration and settings."""
