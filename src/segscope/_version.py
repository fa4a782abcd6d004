"""The version of segscope."""

__version__ = "0.1.0"
