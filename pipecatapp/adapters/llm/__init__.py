"""Language models: the server process, its clients, llama.cpp's own programs.

Not here: which model answers (`experts`) and which engine runs (`app`).
"""
