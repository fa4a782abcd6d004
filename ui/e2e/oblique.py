"""Write an oblique CT series with a bright ellipsoid in it, for archive.mjs: oblique.py FOLDER."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from support.dicom_files import along, normal_of, oblique, write_series

SHAPE = (24, 160, 192)
z, y, x = np.indices(SHAPE)
pixels = np.random.default_rng(0).normal(0, 25, SHAPE)
pixels += np.where(
    ((z - 12) / 16) ** 2 + ((y - 80) / 70) ** 2 + ((x - 96) / 84) ** 2 < 1, 40, -900
)  # a body
lean = 3 * (z - 12)  # slices in the wrong order would be seen
pixels[((z - 12) / 8) ** 2 + ((y - 70) / 26) ** 2 + ((x - 110 - lean) / 34) ** 2 < 1] += (
    250  # an organ, off the middle
)
write_series(
    Path(sys.argv[1]), along(2.0 * normal_of(oblique()), SHAPE[0]), oblique(),
    pixels=pixels.astype(np.int16), SeriesDescription="oblique liver", StudyDescription="abdomen",
    RescaleSlope=1, RescaleIntercept=0, WindowCenter=100, WindowWidth=600,
)  # fmt: skip
