"""SAM2-UNet."""
