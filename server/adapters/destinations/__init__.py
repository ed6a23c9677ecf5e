"""Destinations of exports: folders, and containers and buckets of object stores."""
