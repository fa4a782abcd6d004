"""DICOM files are recognised with and without their preamble."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from support.dicom_files import sample

from segscope import io


class TestSamplesOfPydicom:
    def test_a_file_without_preamble_and_file_header_is_read(self, tmp_path: Path) -> None:
        data = pydicom.dcmread(sample("CT_small.dcm"))
        pixels = data.pixel_array
        del data.file_meta
        pydicom.dcmwrite(tmp_path / "bare", data, implicit_vr=True, little_endian=True)
        slope = float(data.RescaleSlope), float(data.RescaleIntercept)
        assert np.array_equal(io.read(tmp_path / "bare")[0], pixels * slope[0] + slope[1])
