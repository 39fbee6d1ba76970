"""The HTTP routes, one subject a file.

It owns the translation between HTTP and the agent; nothing is decided here.
"""
