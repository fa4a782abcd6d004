"""Learning from examples: a session head on the engine's features, and when its answer counts."""
