"""The gateway: the house's models for other programs, in OpenAI's form.

It owns keys, limits, who is asked and how an answer is passed on; HTTP itself is `web`'s.
"""
