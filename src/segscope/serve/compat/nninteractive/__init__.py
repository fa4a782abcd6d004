"""The nnInteractive interface."""
