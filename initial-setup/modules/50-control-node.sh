#!/usr/bin/env bash
# Summary: Where the cluster's control node is, for `./bootstrap.sh --role worker`.
# Usage: sourced by setup.sh
set -euo pipefail

CONTROL_NODE_PATH=/etc/twin/control_node

check_control_node() {
  [[ -n "${CONTROL_NODE_IP:-}" && "$(cat "$SETUP_ROOT$CONTROL_NODE_PATH" 2>/dev/null)" != "$CONTROL_NODE_IP" ]]
}

apply_control_node() {
  write_file "$CONTROL_NODE_PATH" "$CONTROL_NODE_IP"
  if [[ "${SETUP_ADDRESS%/*}" == "$CONTROL_NODE_IP" ]]; then
    say "  this machine is the control node: ./bootstrap.sh --role controller"
  else
    say "  this machine can join it: ./bootstrap.sh --role worker"
  fi
}
