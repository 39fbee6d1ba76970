#!/usr/bin/env bash
# Summary: run a command in a network without a way out, and count what tries to leave.
# Usage: cell.sh REPORT COMMAND [ARGUMENT...]
#   REPORT   file that gets two lines: packets after one deliberate attempt, packets after COMMAND;
#            then where they wanted to go, as nft prints it: address . protocol . port
# The cell has the loopback and a cable to nobody that holds the default route: every packet for
# elsewhere is counted there and lost. For IPv6 there is no route at all.
set -euo pipefail

INTERFACE=outside

need_cmd() {
  command -v "$1" >/dev/null || { echo "$1 is needed" >&2; exit 127; }
}

build_cell() {
  ip link set lo up
  ip link add "$INTERFACE" type veth peer name nobody
  nft add table inet cell
  nft add chain inet cell leaving '{ type filter hook output priority 0 ; }'
  nft add set inet cell wanted '{ type ipv4_addr . inet_proto . inet_service ; flags dynamic ; size 999 ; }'
  nft add rule inet cell leaving oifname "$INTERFACE" counter
  nft add rule inet cell leaving oifname "$INTERFACE" add @wanted '{ ip daddr . meta l4proto . th dport }'
  # The kernel's own neighbour discovery is none of ours.
  echo 1 >"/proc/sys/net/ipv6/conf/$INTERFACE/disable_ipv6"
  ip address add 192.0.2.1/24 dev "$INTERFACE"
  ip link set nobody up
  ip link set "$INTERFACE" up
  ip route add default dev "$INTERFACE"
}

packets() {
  nft list chain inet cell leaving | sed -n 's/.*counter packets \([0-9]*\) .*/\1/p'
}

main() {
  local report="$1" status=0
  shift
  need_cmd ip
  need_cmd nft
  build_cell
  # One packet to a documentation address (RFC 5737) shows that the counter counts.
  bash -c 'echo x >/dev/udp/203.0.113.1/9' || true
  packets >"$report"
  "$@" || status=$?
  packets >>"$report"
  nft list set inet cell wanted | sed -n 's/.*elements = //p' >>"$report"
  return "$status"
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
  main "$@"
fi
