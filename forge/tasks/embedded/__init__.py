"""Procedural data with real structure, for machines without network."""
