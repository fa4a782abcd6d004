"""Client of the annotation server: typed, without torch. Needs numpy and the standard library,
nothing else.

```python
from segscope.client import Client

with Client("http://127.0.0.1:8484", token="...") as server:
    image = server.upload("scan.nii.gz")
    with server.open(image.image_id, annotator="anna") as work:
        answer = work.predict(frame=60, object_id=1, boxes=[(212, 180, 271, 240)])
        for part in work.propagate():
            print(part.frame, part.area)
        work.export("nifti", "liver.nii.gz")
```
"""

from .client import Client, LeaseExpired, NotReachable, ServerError
from .label_map import Canvas
from .session import Session
from .types import Answer, Image, MaskPart, pack, unpack

__all__ = [
    "Answer",
    "Canvas",
    "Client",
    "Image",
    "LeaseExpired",
    "MaskPart",
    "NotReachable",
    "ServerError",
    "Session",
    "pack",
    "unpack",
]
