"""MedSAM2."""
