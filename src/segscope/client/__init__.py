"""Client of the annotation server: typed, and without torch.

It needs numpy and the standard library only.

```python
from segscope.client import Client

with Client("http://127.0.0.1:8484", token="...") as client:
    image = client.upload("scan.nii.gz")
    with client.open(image.image_id, annotator="anna") as session:
        result = session.predict(frame=60, object_id=1, boxes=[(212, 180, 271, 240)])
        for update in session.propagate():
            print(update.frame, update.area)
        session.export("nifti", "liver.nii.gz")
```
"""

from .client import Client
from .http import LeaseExpired, NotReachable, ServerError
from .label_map import LabelMap
from .session import RemoteSession
from .types import ImageInfo, MaskUpdate, SessionUpdate, pack_mask, unpack_mask

__all__ = [
    "Client",
    "ImageInfo",
    "LabelMap",
    "LeaseExpired",
    "MaskUpdate",
    "NotReachable",
    "RemoteSession",
    "ServerError",
    "SessionUpdate",
    "pack_mask",
    "unpack_mask",
]
