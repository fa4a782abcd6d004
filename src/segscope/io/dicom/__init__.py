"""DICOM: series, SEG, RTSTRUCT, DICOMweb."""
