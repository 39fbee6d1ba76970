"""JSON schemas and their regular expressions, put so that llama.cpp's converter keeps to them exactly.

Not here: the field of a request that holds a schema (`gateway/response_format`).
"""
