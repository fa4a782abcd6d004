"""Made-up biomedical scenes with exact masks, for demos, tests and training `mini`. numpy and scipy
only, seeded.
"""

from segscope.phantom.scans import clip, volume
from segscope.phantom.scenes import picture, scene
from segscope.phantom.stacks import stack

__all__ = ["clip", "picture", "scene", "stack", "volume"]
