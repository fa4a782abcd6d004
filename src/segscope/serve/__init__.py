"""The annotation server: a workspace on disk, and the doors through which programs and people reach
it.
"""
