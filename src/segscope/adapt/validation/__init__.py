"""Scores of an adapted network on validation cases."""
