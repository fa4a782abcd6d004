"""DB-SAM."""
