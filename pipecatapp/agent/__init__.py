"""The conversation without sound: text in, events out.

It owns sessions, turns and the bus; how text became sound is the voice layer's.
"""
