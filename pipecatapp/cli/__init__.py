"""The command line, `twin`.

It owns arguments, output and exit codes; each command's work is elsewhere.
"""
