"""The client of the server: the copy that the wheel carries along, or that of an installed segscope."""

try:
    from ._client import Canvas, Client, LeaseExpired, NotReachable, ServerError, Session
except ImportError:
    from segscope.client import Canvas, Client, LeaseExpired, NotReachable, ServerError, Session

__all__ = ["Canvas", "Client", "LeaseExpired", "NotReachable", "ServerError", "Session"]
