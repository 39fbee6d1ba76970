"""The supply of models and binaries.

It owns the catalogue, the sources and the proof by hash; using an artefact is an adapter's.
"""
