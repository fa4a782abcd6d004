"""TIFF, with OME and ImageJ metadata."""
