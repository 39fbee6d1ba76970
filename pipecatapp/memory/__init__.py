"""What to remember and what to recall.

It owns the policy over the MemoryStore port; storage is an adapter's.
"""
