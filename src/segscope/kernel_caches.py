"""How many compiled kernels the CPU library of the network keeps.

oneDNN compiles a kernel for every shape that it meets and keeps 1,024 of them; torch keeps as many
again. Prompts come in any number, so a day of clicking meets new shapes all the time: some 2 MB a
click until the caches are full. Both caches evict the least recently used entry, and results do not
depend on them. The variables are read once, when the caches are first used.
"""

from __future__ import annotations

import os

KERNELS = 64
"""One network's kernels for the shapes that recur; larger caches made no network faster."""
VARIABLES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def configure_kernel_caches() -> None:
    """Bound both caches; variables that the user has set are left alone."""
    for name in VARIABLES:
        os.environ.setdefault(name, str(KERNELS))
