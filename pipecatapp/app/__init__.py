"""The composition root.

It owns which adapter stands behind which port; nothing else imports both.
"""
