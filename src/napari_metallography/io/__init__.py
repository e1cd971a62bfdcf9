"""Images, labels, tables and overlays in and out of files."""
