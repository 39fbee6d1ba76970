#!/usr/bin/env bash
# Summary: The machine's name, and that name in /etc/hosts.
# Usage: sourced by setup.sh
set -euo pipefail

check_hostname() {
  [[ -n "$SETUP_HOSTNAME" && "$(cat "$SETUP_ROOT/etc/hostname" 2>/dev/null)" != "$SETUP_HOSTNAME" ]]
}

apply_hostname() {
  local hosts
  write_file /etc/hostname "$SETUP_HOSTNAME"
  hosts="$(grep -v '^127\.0\.1\.1[[:space:]]' "$SETUP_ROOT/etc/hosts" 2>/dev/null || true)"
  write_file /etc/hosts "$hosts"$'\n'"127.0.1.1 $SETUP_HOSTNAME"
  if [[ -z "$SETUP_ROOT" ]]; then run hostname "$SETUP_HOSTNAME"; fi
}
