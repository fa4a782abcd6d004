"""The HTTP and WebSocket interface of the annotation server."""
