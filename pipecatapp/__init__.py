"""Twin: a private voice assistant for a handful of old desktops.

The package owns the agent: how it hears, thinks, uses tools, remembers and speaks. It does not
own the machines, which are Ansible's.
"""

__version__ = "0.1.0"
"""As in pyproject.toml; `scripts/release.py` writes both."""
