"""The interface of QuPath's extension for SAM."""
