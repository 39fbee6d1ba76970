"""The long-term memory on disk and over HTTP: SQLite, the search among vectors, replica, saved states.

Not here: replication between nodes (`memory`) and the service's routes (`web/memory_api`).
"""
