"""Volumes: claims that are bound at once."""
