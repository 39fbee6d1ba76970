"""Directories of services that need no program of their own: a snapshot, fixed endpoints, two joined.

Not here: the directory that follows Consul (`adapters/consul`).
"""
