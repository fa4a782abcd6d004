"""Which images are of one patient, without saying who that is."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from segscope.serve.project.database import Database
from segscope.stack import Stack

_KEY = "group_key"
_LENGTH = 16


class PatientGroups:
    """Groups of images by patient, as opaque names that mean nothing outside of the project.

    Args:
        database: of the project; it holds the secret of the names.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, image_id: str, stack: Stack) -> str:
        """The group of an image: of its DICOM patient, else of the image alone."""
        patient = stack.meta.get("patient_hash")
        if not patient:
            return image_id
        digest = hmac.new(self._secret(), str(patient).encode(), hashlib.sha256)
        return digest.hexdigest()[:_LENGTH]

    def _secret(self) -> bytes:
        stored = self._database.get(_KEY)
        if stored is None:
            stored = secrets.token_hex(32)
            self._database.put(_KEY, stored)
        return bytes.fromhex(stored)
