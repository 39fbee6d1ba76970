"""The engine that runs a workflow file.

It owns the format, its validation and its execution; the workflows themselves are data.
"""
