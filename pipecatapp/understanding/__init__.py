"""Understanding of what people say: rules over English utterances, a classifier by examples.

Not here: what is done with the answer (`workflow/nodes`).
"""
