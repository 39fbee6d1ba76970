"""Certificates: the local certificate authority, and whom clients trust.

Not here: serving with them (`web/serving`).
"""
