"""Operations: programs around the agent, such as serving one expert, profiling a node, planning a cluster.

Not here: wiring an agent (`app`), and arguments and output of commands (`cli`).
"""
