"""NRRD and 3D Slicer segmentations."""
