"""The same figures as MONAI on 200 random pairs, 2D and 3D.

MONAI gives no distance for a complete miss, and by default NaN for the Dice of a false alarm; the
rule here is another, see test_score.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from segscope.metrics import overlap
from segscope.metrics.surface import SurfaceDistances
from segscope.metrics.surface_area import measures

monai = pytest.importorskip("monai.metrics", reason="MONAI is not installed")
torch = pytest.importorskip("torch")
from monai.metrics.utils import get_code_to_measure_table, get_edge_surface_distance  # noqa: E402

# MONAI 1.6 warns of an argument that it passes to itself
pytestmark = pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")


def _tensors(*masks):
    return [torch.from_numpy(np.ascontiguousarray(mask))[None, None].double() for mask in masks]


@pytest.mark.parametrize("seed", range(200))
def test_overlap_and_surface_scores_are_those_of_monai(seed, random_pair):
    found, truth, spacing = random_pair(seed)
    one, two = _tensors(found, truth)
    surfaces = SurfaceDistances.between(found, truth, spacing)
    given = {"include_background": True, "spacing": list(spacing)}
    _same(overlap.dice(found, truth), monai.compute_dice(one, two, include_background=True))
    _same(overlap.iou(found, truth), monai.compute_iou(one, two, include_background=True))
    _same(surfaces.hd, monai.compute_hausdorff_distance(one, two, **given))
    # MONAI finds the place of the percentile in single precision, which costs it up to 1e-5
    _same(surfaces.hd95, monai.compute_hausdorff_distance(one, two, percentile=95, **given), 1e-5)
    directed = get_edge_surface_distance(
        one[0, 0], two[0, 0], spacing=list(spacing), symmetric=True
    )[1]
    _same(surfaces.hd95, max(np.percentile(np.array(part.tolist()), 95) for part in directed))
    _same(surfaces.assd, monai.compute_average_surface_distance(one, two, symmetric=True, **given))
    for tolerance in (0.7, 1.9):
        _same(
            surfaces.nsd(tolerance),
            monai.compute_surface_dice(one, two, [tolerance], use_subvoxels=True, **given),
        )


def _same(value, reference, tolerance=1e-6):
    # relative too, for what MONAI holds in single precision
    assert value == pytest.approx(float(reference), rel=tolerance, abs=tolerance)


@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0, 1.0), (3.0, 0.7, 0.7), (0.31, 5.2, 1.7), (1.0, 2.5)]
)
def test_area_of_every_kind_of_cell_is_that_of_monai(spacing):
    table = np.array(get_code_to_measure_table(list(spacing), device="cpu")[0].tolist())
    bits = 2 ** len(spacing)
    # MONAI counts the corners from the other end
    order = [int(f"{code:0{bits}b}"[::-1], 2) for code in range(2**bits)]
    np.testing.assert_allclose(measures(spacing)[order], table, rtol=1e-6, atol=1e-6)
