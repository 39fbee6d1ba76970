"""Adapters: one outside program, library or service a file, in a folder for its kind.

It owns the translation to our ports; what to do with the answer belongs to the layers above.
"""
