"""Distances between the surfaces of two masks: HD, HD95, ASSD, normalised surface Dice.

Two surfaces are in use, as in the published tools. HD, HD95 and ASSD are taken between surface
voxels (inside, with a neighbour across a face that is outside; the border of the image counts as
outside). NSD is taken between surface elements between the voxels, weighted with their area
(Nikolov et al. 2018, arXiv:1809.04430).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from segscope.metrics.overlap import Mask, as_masks
from segscope.metrics.surface_area import measures

Distances = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances between two surfaces, computed once for all measures.

    Every measure is NaN when a mask is empty; `segscope.metrics.score` applies the policy for
    these.

    Attributes:
        found, truth: the part of the masks that holds both, with one voxel of background around it.
        spacing: distances of voxel centres along each axis, in mm (or 1 for pixels).

    Example:
        >>> import numpy as np
        >>> truth = np.zeros((9, 9, 9), bool)
        >>> truth[2:6, 2:6, 2:6] = True
        >>> pair = SurfaceDistances.between(np.roll(truth, 1, axis=0), truth, (3.0, 1.0, 1.0))
        >>> pair.hd95, pair.hd
        (3.0, 3.0)
    """

    found: Mask
    truth: Mask
    spacing: tuple[float, ...]

    @classmethod
    def between(
        cls, found: Mask, truth: Mask, spacing: Sequence[float] | None = None
    ) -> SurfaceDistances:
        """Prepares two masks of one shape; without spacing, distances are in pixels."""
        found, truth = as_masks(found, truth)
        if spacing is None:
            spacing = (1.0,) * found.ndim
        else:
            spacing = tuple(map(float, spacing))
        box = _bounding_box(found | truth)
        return cls(np.pad(found[box], 1), np.pad(truth[box], 1), spacing)

    @property
    def hd(self) -> float:
        """Hausdorff distance: the largest distance of either surface to the other."""
        return self._largest(100)

    @property
    def hd95(self) -> float:
        """The larger of the two directed 95th percentiles, interpolated linearly (MONAI; MedPy
        pools both).
        """
        return self._largest(95)

    @property
    def assd(self) -> float:
        """Average symmetric surface distance: sum of both directed distances over the number of
        surface voxels.
        """
        if self._defined:
            return float(np.concatenate(self.voxels).mean())
        return np.nan

    def nsd(self, tolerance: float) -> float:
        """Area of both surfaces within `tolerance` of the other one, as a part of all area; 0 to 1."""
        if not self._defined:
            return np.nan
        # a distance that is the tolerance on paper counts, though 3 * 0.1 > 0.3 for the machine
        limit = tolerance * (1 + 1e-9)
        within = sum(area[distance <= limit].sum() for distance, area in self.elements)
        return float(within / sum(area.sum() for _, area in self.elements))

    @cached_property
    def voxels(self) -> tuple[Distances, Distances]:
        """Distance of each surface voxel found to the true surface, and of each true one to the
        surface found.
        """
        found = surface_voxels(self.found)
        truth = surface_voxels(self.truth)
        return nearest(found, truth, self.spacing), nearest(truth, found, self.spacing)

    @cached_property
    def elements(self) -> tuple[tuple[Distances, NDArray[np.float64]], ...]:
        """Distance to the other surface and area of each surface element: of what was found, then
        of the truth.
        """
        full = 2 ** (2**self.found.ndim) - 1
        codes = _codes(self.found), _codes(self.truth)
        found, truth = ((code > 0) & (code < full) for code in codes)
        areas = measures(self.spacing)
        return (
            (nearest(found, truth, self.spacing), areas[codes[0][found]]),
            (nearest(truth, found, self.spacing), areas[codes[1][truth]]),
        )

    @cached_property
    def _defined(self) -> bool:
        return bool(self.found.any() and self.truth.any())

    def _largest(self, percentile: float) -> float:
        if self._defined:
            return float(max(np.percentile(one, percentile) for one in self.voxels))
        return np.nan


def surface_voxels(mask: Mask) -> Mask:
    """Voxels of `mask` with a neighbour across a face outside of it; beyond the array is outside."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    middle = (slice(1, -1),) * mask.ndim
    for axis, shifted in product(range(mask.ndim), (slice(None, -2), slice(2, None))):
        inner &= padded[(*middle[:axis], shifted, *middle[axis + 1 :])]
    return mask & ~inner


def nearest(start: Mask, goal: Mask, spacing: Sequence[float]) -> Distances:
    """Distance of each set voxel of `start` to the nearest set voxel of `goal`, which has one."""
    distances = np.zeros(np.count_nonzero(start))
    apart = ~goal[start]
    if apart.any():
        # a tree over the surface costs a tenth of a distance transform of the volume
        tree = KDTree(np.argwhere(goal) * np.asarray(spacing), leafsize=32)
        distances[apart] = tree.query(np.argwhere(start)[apart] * np.asarray(spacing))[0]
    return distances


def _codes(mask: Mask) -> NDArray[np.uint8]:
    """Which corners of each cell between neighbouring voxels are inside, one bit a corner."""
    codes = np.zeros([size - 1 for size in mask.shape], np.uint8)
    for bit, corner in enumerate(product((0, 1), repeat=mask.ndim)):
        part = tuple(slice(at, at + size) for at, size in zip(corner, codes.shape, strict=True))
        codes |= mask[part].astype(np.uint8) << bit
    return codes


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    box = []
    for axis in range(mask.ndim):
        at = np.flatnonzero(
            mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis))
        )
        box.append(slice(int(at[0]), int(at[-1]) + 1) if len(at) else slice(0, 0))
    return tuple(box)
