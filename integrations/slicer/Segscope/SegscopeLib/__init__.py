"""The parts of the module that need no 3D Slicer: geometry, the session, background work."""
