"""The training loop: settings, runs, checkpoints, curves."""
