"""Certificates: the local certificate authority.

Not here: serving with them (`web/serving`).
"""
