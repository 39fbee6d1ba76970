"""Text to speech, one engine a file.

Not here: what is spoken (`speech`) and when (`voice/tts_stage`).
"""
