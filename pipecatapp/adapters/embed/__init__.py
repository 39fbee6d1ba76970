"""Embedders: sentences as vectors.

Not here: searching among vectors (`adapters/memory`).
"""
