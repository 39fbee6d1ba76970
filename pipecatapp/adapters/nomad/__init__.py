"""Nomad, the cluster's scheduler.

Not here: the jobs themselves (`ansible/jobs`).
"""
