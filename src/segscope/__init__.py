"""Promptable segmentation of biomedical images, volumes and videos with the SAM family.

```python
import segscope as ss

stack = ss.read("ct_series/")
engine = ss.load("mini")
masks = ss.segment(stack, engine, [ss.Box(frame=96, xyxy=(210, 180, 260, 240), object_id=1)])
ss.write(masks, "liver.nii.gz", source=stack)
```

Names are imported on first use, so that `import segscope` is fast and does not import torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from segscope._version import __version__ as __version__
from segscope.kernel_caches import configure_kernel_caches
from segscope.threads import configure_threads

if TYPE_CHECKING:
    from segscope.errors import Cancelled, PromptError, ReadError, SegscopeError, UsageError
    from segscope.geometry import Geometry
    from segscope.io import read, read_masks, write
    from segscope.load import load
    from segscope.masks import FrameMask, Masks
    from segscope.overlay import overlay
    from segscope.predict import everything
    from segscope.prompts import Box, MaskPrompt, Point, Scribble
    from segscope.render import Renderer
    from segscope.session import learn, segment
    from segscope.session.examples import Examples
    from segscope.session.interaction import Interaction
    from segscope.stack import Stack

__all__ = [
    "Box",
    "Cancelled",
    "Examples",
    "FrameMask",
    "Geometry",
    "Interaction",
    "MaskPrompt",
    "Masks",
    "Point",
    "PromptError",
    "ReadError",
    "Renderer",
    "Scribble",
    "SegscopeError",
    "Stack",
    "UsageError",
    "everything",
    "learn",
    "load",
    "overlay",
    "read",
    "read_masks",
    "segment",
    "write",
]

_HOME = {
    "Box": "prompts",
    "Cancelled": "errors",
    "Examples": "session.examples",
    "FrameMask": "masks",
    "Geometry": "geometry",
    "Interaction": "session",
    "MaskPrompt": "prompts",
    "Masks": "masks",
    "Point": "prompts",
    "PromptError": "errors",
    "ReadError": "errors",
    "Renderer": "render",
    "Scribble": "prompts",
    "SegscopeError": "errors",
    "Stack": "stack",
    "UsageError": "errors",
    "everything": "predict",
    "learn": "session",
    "load": "load",
    "overlay": "overlay",
    "read": "io",
    "read_masks": "io",
    "segment": "session",
    "write": "io",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'segscope' has no attribute {name!r}")
    return getattr(import_module(f"segscope.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """The type of this package, so that `segscope.load` and `segscope.overlay` are functions.

    Modules of the same names exist. When one is imported, Python sets it as an attribute of the
    package; that attribute is its function here.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOME.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

configure_threads()
configure_kernel_caches()
