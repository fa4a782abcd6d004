"""The client of the server: the copy inside the wheel, or that of an installed segscope."""

try:
    from ._client import (
        Client,
        LabelMap,
        LeaseExpired,
        NotReachable,
        RemoteSession,
        ServerError,
    )
except ImportError:
    from segscope.client import (
        Client,
        LabelMap,
        LeaseExpired,
        NotReachable,
        RemoteSession,
        ServerError,
    )

__all__ = ["Client", "LabelMap", "LeaseExpired", "NotReachable", "RemoteSession", "ServerError"]
