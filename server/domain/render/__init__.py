"""Rendered resources and thumbnails: images, animations, documents and reports (PS3.18 sections 8.3.5 and 10.4)."""
