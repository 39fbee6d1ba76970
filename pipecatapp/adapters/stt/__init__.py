"""Speech to text, one engine a file.

Not here: when an utterance is transcribed (`voice/stt_stage`).
"""
