"""What the module does, without 3D Slicer: geometry, talking to the server, running in the background."""
