"""What a project stores on disk: images, worklist, database, exports."""
