"""Sound: calls, turn taking, speech in and out.

It is the only importer of pipecat; what is said is the agent's.
"""
