"""The models that may answer, and which one does.

It owns the registry of chat models; reaching one is an adapter's.
"""
