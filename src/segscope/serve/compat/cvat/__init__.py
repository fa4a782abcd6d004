"""The interface of CVAT for interactive models."""
