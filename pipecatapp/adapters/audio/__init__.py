"""Sound: sample arithmetic, the codecs of sound files, a WebRTC client.

Not here: engines (`adapters/stt`, `adapters/tts`) and calls (`voice`).
"""
