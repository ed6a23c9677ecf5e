"""The web explorer in Chromium: first paint, the list of studies, and uploads of folders."""
