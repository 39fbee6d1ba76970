"""A shell on a fresh machine, to look around in; leaving the shell removes the machine.

Usage: python -m testing.hosts.shell [IMAGE]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from testing.hosts.machines import Machine
from testing.hosts.network import Network

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Boot, hand over, clean up."""
    network = Network()
    try:
        with Machine(
            sys.argv[1] if len(sys.argv) > 1 else "trixie", network, {"/srv/checkout": ROOT}
        ) as machine:
            sys.stdout.write(f"{machine.name} at {machine.address}; this checkout is /srv/checkout there.\n")
            subprocess.run(machine.command("bash", "-l"), check=False)
    finally:
        network.close()


if __name__ == "__main__":
    main()
