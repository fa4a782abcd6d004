"""Losses: masks, interactive clicks, clips, chunks of slices."""
