"""This machine: its CPU, its names, threads, child processes and files.

Not here: engines, each of which has a folder for its kind beside this one.
"""
