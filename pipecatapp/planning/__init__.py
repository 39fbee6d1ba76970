"""Which expert would run where, and how quickly, before anything is deployed.

It owns the reckoning, from profiles of nodes and lists of models; measuring and deploying are `ops`'s.
"""
