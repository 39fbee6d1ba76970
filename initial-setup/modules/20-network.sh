#!/usr/bin/env bash
# Summary: A fixed address, by systemd-networkd. Nothing is done for "dhcp".
# Usage: sourced by setup.sh
set -euo pipefail

NETWORK_FILE=/etc/systemd/network/10-twin.network

network_interface() {
  if [[ -n "$SETUP_INTERFACE" ]]; then printf '%s' "$SETUP_INTERFACE"; return; fi
  ip -o route show default 2>/dev/null | awk '{for (i = 1; i < NF; i++) if ($i == "dev") {print $(i + 1); exit}}'
}

network_text() { # network_text INTERFACE
  printf '[Match]\nName=%s\n\n[Network]\nAddress=%s\nGateway=%s\nDNS=%s' \
    "$1" "$SETUP_ADDRESS" "$SETUP_GATEWAY" "$SETUP_DNS"
}

check_network() {
  [[ "$SETUP_ADDRESS" != dhcp ]] || return 1
  [[ "$(cat "$SETUP_ROOT$NETWORK_FILE" 2>/dev/null)" != "$(network_text "$(network_interface)")" ]]
}

apply_network() {
  local interface
  interface="$(network_interface)"
  [[ -n "$interface" ]] || die "no interface has a default route; name one in SETUP_INTERFACE."
  write_file "$NETWORK_FILE" "$(network_text "$interface")"
  # The installer's own configuration of the same interface would give it a second address.
  if grep -qs "iface $interface " "$SETUP_ROOT/etc/network/interfaces"; then
    run mv "$SETUP_ROOT/etc/network/interfaces" "$SETUP_ROOT/etc/network/interfaces.before-twin"
  fi
  if [[ -z "$SETUP_ROOT" ]]; then run systemctl enable systemd-networkd; fi
  say "  the address takes effect when the machine starts again"
}
