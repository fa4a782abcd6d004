"""Routes of the native API, one file a subject."""
