#!/usr/bin/env bash
# Summary: A user who may administer the machine by sudo, with a public SSH key.
# Usage: sourced by setup.sh
set -euo pipefail

admin_home() { printf '/home/%s' "$SETUP_ADMIN"; }

admin_has_key() {
  [[ -z "$SETUP_ADMIN_KEY" ]] ||
    grep -qsxF "$SETUP_ADMIN_KEY" "$SETUP_ROOT$(admin_home)/.ssh/authorized_keys"
}

check_admin() {
  [[ -n "$SETUP_ADMIN" ]] || return 1
  ! grep -qs "^$SETUP_ADMIN:" "$SETUP_ROOT/etc/passwd" || ! admin_has_key
}

apply_admin() {
  if ! grep -qs "^$SETUP_ADMIN:" "$SETUP_ROOT/etc/passwd"; then
    run useradd --create-home --shell /bin/bash --groups sudo "$SETUP_ADMIN"
  fi
  if ! admin_has_key; then
    local folder
    folder="$SETUP_ROOT$(admin_home)/.ssh"
    run install -d -m 0700 -o "$SETUP_ADMIN" -g "$SETUP_ADMIN" "$folder"
    if [[ -n "$dry_run" ]]; then
      say "  would add the key to $folder/authorized_keys"
    else
      printf '%s\n' "$SETUP_ADMIN_KEY" >>"$folder/authorized_keys"
      chown "$SETUP_ADMIN:" "$folder/authorized_keys"
      chmod 0600 "$folder/authorized_keys"
    fi
  fi
}
