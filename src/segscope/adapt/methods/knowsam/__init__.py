"""KnowSAM."""
