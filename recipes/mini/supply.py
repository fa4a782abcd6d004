"""Made-up scenes without end, from processes of their own: phantoms, and pieces of real images as
objects.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import numpy as np
from data import Scene
from numpy.typing import NDArray
from pool import Ring, pack
from sampler import synthetic
from scipy import ndimage
from skimage import measure, segmentation
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

#: share of the scenes that are real images with their own even pieces as objects
SHARE_PIECES = 0.15
Packed = tuple[Tensor, Tensor, Tensor, Tensor]


def pieces(rng: np.random.Generator, image: NDArray[np.uint8]) -> Scene:
    """A real image (row, column, 3) whose objects are what hangs together by colour; its own
    masks are not used.
    """
    rows, columns = image.shape[:2]
    side = int(min(rows, columns) * rng.uniform(0.35, 1.0))
    y = rng.integers(rows - side + 1)
    x = rng.integers(columns - side + 1)
    at = ((np.arange(Ring.SIDE) + 0.5) * side / Ring.SIDE).astype(int)
    part = np.ascontiguousarray(image[y + at][:, x + at])
    scale = float(np.exp(rng.uniform(np.log(60), np.log(1500))))
    labels = segmentation.felzenszwalb(
        part, scale=scale, sigma=rng.uniform(0.8, 2.0), min_size=int(rng.uniform(80, 600))
    )
    kept = np.zeros(labels.shape, np.uint16)
    number = 0
    for region in measure.regionprops(labels + 1, part.mean(-1)):
        if (
            120 <= region.area <= 0.4 * labels.size
            and region.solidity > 0.72
            and region.image_intensity.std() > 1
        ):
            number += 1
            smooth = ndimage.binary_fill_holes(
                ndimage.binary_opening(labels + 1 == region.label, iterations=2)
            )
            kept[smooth] = number
    return Scene("pieces", "", part, kept[None], ("piece",))


class Stream(IterableDataset):
    """Packed scenes (see pool.pack); each worker process draws from seeds of its own."""

    def __init__(
        self, seed: int, images: list[NDArray[np.uint8]], share: float = SHARE_PIECES
    ) -> None:
        self.seed = seed
        self.images = images
        self.share = share

    def __iter__(self) -> Iterator[Packed]:
        info = get_worker_info()
        rank, of, number = (info.id, info.num_workers, 0) if info else (0, 1, 0)
        while True:
            seed = (self.seed, number * of + rank)
            number += 1
            rng = np.random.default_rng(seed)
            if self.images and rng.random() < self.share:
                scene = pieces(rng, self.images[rng.integers(len(self.images))])
            else:
                scene = synthetic(int(rng.integers(2**40)))
            packed = pack(scene, rng)
            if packed is not None:
                yield packed


class Supply:
    """Fills a ring: endlessly from `workers` processes in the background, or once without any."""

    def __init__(self, ring: Ring, stream: Stream, workers: int, at_once: int = 32) -> None:
        self.ring = ring
        self.made = 0
        self.ready: queue.Queue[Packed] = queue.Queue(maxsize=64)
        if workers:
            pinned = ring.device.type == "cuda"
            loader = DataLoader(
                stream, at_once, num_workers=workers, prefetch_factor=2, pin_memory=pinned
            )
            threading.Thread(target=self._pull, args=(iter(loader),), daemon=True).start()
        else:
            once = DataLoader(stream, ring.capacity)
            self.ready.put(next(iter(once)))

    def _pull(self, batches: Iterator[Packed]) -> None:
        for batch in batches:
            self.ready.put(batch)

    def take(self, wait: bool = False) -> bool:
        """Move what is ready into the ring; true if anything was."""
        moved = False
        while True:
            try:
                batch = self.ready.get(block=wait and not moved)
            except queue.Empty:
                return moved
            self.ring.put(*batch)
            self.made += len(batch[0])
            moved = True
