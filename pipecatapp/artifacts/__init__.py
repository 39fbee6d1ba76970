"""Artifacts: the catalogue of models and binaries, their sources, and the proof by hash.

Not here: using one (`adapters`).
"""
