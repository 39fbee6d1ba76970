"""The agent's HTTP and WebSocket face, and the page.

It is the only importer of fastapi; it holds no logic of the conversation.
"""
