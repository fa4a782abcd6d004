"""Prompts that nobody made: truth and current masks to clicks, boxes and scribbles."""
