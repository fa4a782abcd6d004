"""Promptable segmentation in napari, by a segscope server."""

__version__ = "0.1.0"
