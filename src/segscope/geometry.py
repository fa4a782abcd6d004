"""Axes, spacing, affine: index to world and back, all defined here.

Arrays are (frame, row, column[, channel]) = (z, y, x). A voxel index (x, y, frame) counts from 0
and names the centre of a voxel; the affine maps it to millimetres in RAS+ world coordinates (as
NIfTI does; LPS of DICOM and NRRD files is converted when they are read and written). Pixel
coordinates of prompts are continuous: pixel i covers [i, i + 1), its centre is i + 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the voxels of a stack lie in the world.

    Attributes:
        affine: (4, 4) float64; voxel index (x, y, frame, 1) to RAS+ millimetres.
        has_place: whether these millimetres are those of the patient or the specimen. Without a
            place only the spacing means something.
        shares_place: whether all frames lie where frame 0 lies, as those of a video do. The third
            axis is then the thickness of the slice (1 mm where that is unknown).
    """

    affine: NDArray[np.float64]
    has_place: bool = True
    shares_place: bool = False

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4):
            raise ValueError(f"an affine must be a 4 x 4 matrix, got shape {affine.shape}")
        if not np.isfinite(affine).all():
            raise ValueError("an affine must be finite; this one holds NaN or infinity")
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        # by directions only: voxels of a few nanometres have a volume of 1e-16 mm3, yet are regular
        if not lengths.all() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
            raise ValueError("an affine must have three independent axes; this one is singular")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_spacing(cls, spacing_zyx_mm: tuple[float, float, float]) -> Geometry:
        """Axis-aligned geometry of unknown place, with its origin at the first voxel."""
        z, y, x = map(float, spacing_zyx_mm)
        return cls(np.diag([x, y, z, 1.0]), has_place=False)

    @property
    def lps_affine(self) -> NDArray[np.float64]:
        """(4, 4) float64; voxel index (x, y, frame, 1) to LPS+ millimetres.

        Without a place: axes along those of the world and the first voxel at the origin, which is
        where ITK puts the voxels of a file that states no place.
        """
        if self.has_place:
            return LPS_TO_RAS @ self.affine
        return np.diag([*self.spacing_zyx_mm[::-1], 1.0])

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along (frame, row, column), in millimetres."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(z), float(y), float(x))

    def transposed(self, axis: int) -> Geometry:
        """Geometry of the array after `numpy.moveaxis(array, axis, 0)`, `axis` counted in (z, y,
        x).
        """
        columns = [2, 1, 0]  # columns of the affine in (z, y, x) order
        columns.insert(0, columns.pop(axis))
        affine = self.affine.copy()
        affine[:, :3] = self.affine[:, columns[::-1]]
        return replace(self, affine=affine)

    def same_grid(self, other: Geometry, tolerance: float = 2e-4) -> bool:
        """Whether both place voxels at the same points; whether voxel sizes are equal to 1 % where
        one of them has no place.

        Args:
            other: the geometry to compare with.
            tolerance: largest difference of a voxel step in voxels (0.1 voxel over 500 slices by
                default); the first voxel may lie a hundred times as far off.
        """
        if not (self.has_place and other.has_place):
            return np.allclose(self.spacing_zyx_mm, other.spacing_zyx_mm, rtol=0.01, atol=0)
        voxel = np.linalg.norm(self.affine[:3, :3], axis=0)
        difference = np.linalg.norm(self.affine[:3] - other.affine[:3], axis=0)
        same_steps = (difference[:3] <= tolerance * voxel).all()
        same_origin = difference[3] <= 100 * tolerance * voxel.min()
        return bool(same_steps and same_origin)
