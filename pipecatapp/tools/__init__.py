"""What the agent can do besides talking.

It owns the tools and their schemas; when to call one is the workflow's.
"""
