"""Data sets: layouts, reading, checks."""
