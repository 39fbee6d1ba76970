"""Adapters: one outside program, library or service a file, in a folder for its kind.

Each keeps the promise of a port. Not here: which adapter stands behind a port (`app`).
"""
