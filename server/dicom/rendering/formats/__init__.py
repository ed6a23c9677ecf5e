"""Encoders of rendered images: JPEG, PNG, GIF."""
