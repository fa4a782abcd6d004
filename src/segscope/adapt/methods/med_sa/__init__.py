"""Medical SAM Adapter."""
