#!/usr/bin/env bash
# Summary: What bootstrap.sh tells at the end: where to go, how to stop, how to add a machine; and the benchmark.
# Usage: sourced by bootstrap.sh
# shellcheck disable=SC2034,SC2153,SC2154 # variables are bootstrap.sh's
set -euo pipefail

agent_state() { # agent_state save|load
  curl -fsS -o /dev/null --json '{"name": "before-benchmark"}' "http://127.0.0.1:8000/api/state/$1"
}

run_benchmark() { # in an environment of its own, with what draws the plot
  local step=benchmark uv="$PREFIX/bootstrap/bin/uv" python="$CACHE/bench/bin/python"
  export UV_CACHE_DIR="$CACHE/uv"
  say "Measuring the latency of voice; the results go to build/bench"
  quietly "$uv" venv --quiet --clear --python /usr/bin/python3 "$CACHE/bench"
  quietly "$uv" pip install --python "$python" --require-hashes -r "$ROOT/requirements-dev.txt"
  run agent_state save # the questions tell it facts, which are not the house's
  (cd "$ROOT" && run "$python" -m testing.bench.voice_latency --url http://127.0.0.1:8000) || warn "the measurement failed"
  run agent_state load
}

report_services() {
  local units ctl="$PREFIX/bootstrap/bin/supervisorctl -c /etc/twin/supervisord.conf"
  units="$(find /etc/systemd/system/multi-user.target.wants -name 'twin-*' -printf '%f ' 2>/dev/null | sed 's/\.service//g' || true)"
  if [[ "$mode" == cluster ]]; then
    cat <<TEXT
  Dashboards      https://$1:4646 (Nomad)   https://$1:8500 (Consul)
                  tokens: sudo cat /etc/nomad.d/management_token /etc/consul.d/management_token
  Services        systemctl status consul nomad 'twin-*'      nomad job status
  State           ansible-playbook playbooks/cluster_status.yaml
TEXT
  elif [[ "$init" == systemd ]]; then
    cat <<TEXT
  Services        systemctl status 'twin-*'      (they start again with the machine)
  Stop, start     systemctl stop 'twin-*'        systemctl start $units
  Log             journalctl -u 'twin-*' -f
TEXT
  else
    cat <<TEXT
  Services        $ctl status
  Stop, start     $ctl shutdown      ./bootstrap.sh
                  (after the machine starts again, run ./bootstrap.sh: without systemd nothing else does)
  Log             tail -f /var/log/twin/*.log
TEXT
  fi
}

report_next_machine() { # report_next_machine ADDRESS: a fresh token, and the command for the next machine
  local token
  [[ "$mode" == cluster ]] && command -v twin-join >/dev/null || return 0
  token="$(twin-join token create --ttl 1h)" || { warn "no token could be made: twin join-token create"; return 0; }
  cat <<TEXT
  Next machine    on it, in a checkout, within the hour (the token is good for one machine; another: twin join-token create):
                  ./bootstrap.sh --role worker --controller-ip $1 --token $token
TEXT
}

report() {
  local address
  address="$(lan_address || true)"
  address="${address:-$HOSTNAME}"
  say "Twin is ready."
  cat <<TEXT

  Here            http://localhost:8000
  In the house    https://$address:8443   (a microphone needs https; http://$address:8000 tells how to trust it)
  Mode            $mode, because: $why
TEXT
  report_services "$address"
  report_next_machine "$address"
  printf '  Remove          scripts/uninstall\n'
}
