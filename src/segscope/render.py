"""Rendering of a stack as the 8-bit RGB that model and annotator see, through one window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.stack import Stack
from segscope.window import choose_window


class Renderer:
    """Frames of a stack as (row, column, 3) uint8, through one window.

    Example:
        >>> from segscope import Renderer, Stack
        >>> import numpy as np
        >>> Renderer(Stack.from_array(np.eye(4) * 100))[0].shape
        (4, 4, 3)
    """

    def __init__(self, stack: Stack, window: str | Mapping[str, object] | None = None) -> None:
        """Choose the window.

        Args:
            stack: at most 64 of its frames are read here.
            window: name of a preset, "WIDTH,LEVEL", "pLOW,HIGH" (percentiles), the record of an
                earlier window, or None for the default of the modality and type of the stack.

        Raises:
            UsageError: an invalid window.
        """
        self.stack = stack
        self.window = choose_window(stack, window)

    def __len__(self) -> int:
        return len(self.stack)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self.window.apply(self.stack[index])

    def record(self) -> dict[str, Any]:
        """The window as part of a result's record."""
        return self.window.record()
