"""Compiled programs as plain data, under a digest, on disk."""
