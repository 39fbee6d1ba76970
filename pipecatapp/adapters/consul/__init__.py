"""Consul: its HTTP API, keys and sessions, the services it knows, the gateway's API keys in it.

Not here: the memory's replica and saved states in it (`adapters/memory`).
"""
