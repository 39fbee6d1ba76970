"""Written text made into what a voice can say: for calls and for the gateway alike.

Not here: making sound (`adapters/tts`), and where an answer that is still written is cut
(`voice/clause_aggregator`).
"""
