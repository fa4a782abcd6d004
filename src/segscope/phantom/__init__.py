"""Synthetic biomedical scenes with exact masks, for demos, tests and training `mini`. Seeded; uses
numpy and scipy only.
"""

from segscope.phantom.scans import clip, volume
from segscope.phantom.scenes import picture, scene
from segscope.phantom.stacks import stack

__all__ = ["clip", "picture", "scene", "stack", "volume"]
