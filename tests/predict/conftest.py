"""Every engine in turn, and a generated clip."""

from support.engine_fixtures import clip, engine, sam2

__all__ = ["clip", "engine", "sam2"]
