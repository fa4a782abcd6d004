"""The MONAI Label interface."""
