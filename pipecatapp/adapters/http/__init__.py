"""HTTP that more than one adapter speaks: streams, errors, OpenAI's API.

Not here: what is asked by it (`adapters/llm`, `adapters/stt`, `adapters/tts`, `adapters/embed`).
"""
