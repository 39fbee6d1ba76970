"""`python -m pipecatapp` is `twin`.

It owns nothing but the call.
"""

from __future__ import annotations

import sys

from pipecatapp.cli import main

if __name__ == "__main__":
    sys.exit(main())
