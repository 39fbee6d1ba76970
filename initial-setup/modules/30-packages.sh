#!/usr/bin/env bash
# Summary: The Debian packages that a machine needs before ./bootstrap.sh.
# Usage: sourced by setup.sh
set -euo pipefail

missing_packages() {
  local name
  for name in $SETUP_PACKAGES; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || printf '%s\n' "$name"
  done
}

check_packages() { [[ -n "$(missing_packages)" ]]; }

apply_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  run apt-get update -q
  run env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}
