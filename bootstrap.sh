#!/usr/bin/env bash
# Summary: Set Twin up on this machine and start it on port 8000.
#
# Usage: ./bootstrap.sh [option...]
#
#   --standalone             one machine, no cluster (also what is chosen when no Nomad is at hand)
#   --role all               what this machine is; `all` is the only one until the cluster comes
#   --user NAME              user that the services run as (default: pipecatapp)
#   --tags A,B               only the parts with these tags, such as models or ingress_configure
#   --external-model-server  let the server at LLM_BASE_URL think; fetches no language model
#   --run-local              run the agent from this checkout, not from a copy, to try changes
#   --benchmark              measure the latency of voice at the end
#   --continue               go on after the last complete step of a run that was broken off
#   --watch TARGET           wait for Enter after this task or role, to look around
#   --dry-run                say what would be done, do nothing
#   --verbose [0-4]          how much Ansible tells (default 0; 3 without a number)
#   --debug                  all that Ansible can tell, also into playbook_output.log
#   --clean                  first delete every untracked file of this checkout (asks)
#   --system-cleanup         first free disk space: apt's cache, old logs, unused Docker data (asks)
#   --help                   this text
#
# Run it again at any time: what is in order is left alone. docs/bootstrap.md tells more. Variables:
#   LLM_BASE_URL  OpenAI-compatible server, ending in /v1, for --external-model-server
#   PIP_*, UV_*, *_proxy, SSL_CERT_*  the registries' settings, handed on to pip, uv and apt
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly ROOT
readonly PREFIX="${TWIN_PREFIX:-/opt/twin}" CACHE="${TWIN_CACHE:-/var/cache/twin}"
readonly STATE="$CACHE/bootstrap.state" LOG="$CACHE/bootstrap.log" PROGRESS="$CACHE/progress"
readonly PLAYS=(preflight software control_plane models agent front health)

user="" tags="" role=all verbose=0 debug="" dry_run="" resume="" watch_target=""
standalone="" external="" run_local="" benchmark="" clean="" system_cleanup=""
step="the start"

say() { printf '[%2d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*" >&2; }
warn() { say "note: $*"; }
die() { printf 'bootstrap: %s\n' "$*" >&2; exit 1; }
need_cmd() { command -v "$1" >/dev/null || die "this needs the program '$1'. ${2:-}"; }
run() { if [[ -n "$dry_run" ]]; then printf '        would run: %s\n' "$*" >&2; else "$@"; fi; }
is_terminal() { [[ -t 0 && -t 2 ]]; }

confirm() { # confirm QUESTION: go on only after a person's yes
  is_terminal || die "$1 Nobody can be asked here: run it in a terminal."
  local answer
  read -r -p "$1 [y/N] " answer
  [[ "$answer" == [yY]* ]] || die "nothing was done."
}

quietly() { # quietly CMD...: its output goes to the log; on a terminal its last line is shown
  if [[ -n "$dry_run" ]]; then run "$@"; return; fi
  "$@" >>"$LOG" 2>&1 &
  local pid=$! status=0
  while [[ -t 2 ]] && kill -0 "$pid" 2>/dev/null; do
    printf '\r\033[K        ... %.60s' "$(tail -n 1 "$LOG" | tr -d '\r')" >&2
    sleep 0.5
  done
  [[ ! -t 2 ]] || printf '\r\033[K' >&2
  wait "$pid" || status=$?
  ((status == 0)) || { tail -n 15 "$LOG" >&2; die "'$*' failed; all it said is in $LOG."; }
}

usage() { sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

refuse_later() { die "$1 belongs to a cluster, and the cluster is not there yet. One machine alone: ./bootstrap.sh"; }

parse() {
  local flag value
  while (($#)); do
    flag="$1" value="${2:-}"
    shift
    if [[ "$flag" == --*=* ]]; then value="${flag#*=}" flag="${flag%%=*}"; set -- "$value" "$@"; fi
    case "$flag" in
      --role | --user | --tags | --watch)
        [[ -n "$value" && "$value" != --* ]] || die "$flag needs a value; ./bootstrap.sh --help tells which."
        shift ;;&
      --role) role="$value" ;;
      --user) user="$value" ;;
      --tags) tags="$value" ;;
      --watch) watch_target="$value" ;;
      --verbose) verbose=3; if [[ "$value" == [0-9]* ]]; then verbose="$value"; shift; fi ;;
      --debug) debug=yes verbose=4 ;;
      --dry-run) dry_run=yes ;;
      --standalone) standalone=yes ;;
      --external-model-server) external=yes ;;
      --run-local) run_local=yes ;;
      --benchmark) benchmark=yes ;;
      --continue) resume=yes ;;
      --clean) clean=yes ;;
      --system-cleanup) system_cleanup=yes ;;
      -h | --help) usage; exit 0 ;;
      --controller-ip | --purge-jobs | --leave-services-running | --deploy-docker | --container | \
        --home-assistant-debug) refuse_later "$flag" ;;
      *) die "unknown option '$flag'. ./bootstrap.sh --help lists the known ones." ;;
    esac
  done
  [[ "$verbose" =~ ^[0-4]$ ]] || die "--verbose takes a number from 0 to 4, not '$verbose'."
  case "$role" in
    all) ;;
    controller | worker) refuse_later "--role $role" ;;
    *) die "unknown role '$role'; known: all (controller and worker come with the cluster)." ;;
  esac
  [[ -z "$user" || "$user" =~ ^[a-z_][a-z0-9_-]*$ ]] || die "'$user' is no name of a user."
  [[ "$user" != root ]] || die "the services do not run as root; name another user."
  [[ -z "$watch_target" ]] || is_terminal || die "--watch waits for a key, and there is no terminal here."
}

become_root() { # become_root ARG...: start again by sudo, which asks for the password once
  ((EUID != 0)) && [[ -z "$dry_run" ]] || return 0
  need_cmd sudo "Log in as root (su -) and run ./bootstrap.sh there, or install sudo."
  local keep
  keep="$(compgen -e | grep -E '^(PIP_|UV_|SSL_CERT_|LLM_|TWIN_|(http|https|no|all)_proxy$)' | paste -sd, || true)"
  say "Setting up needs root; sudo may ask for your password, once."
  exec sudo ${keep:+--preserve-env="$keep"} -- "${BASH_SOURCE[0]}" "$@"
}

clean_checkout() {
  need_cmd git
  say "These files are not part of the project and would be deleted:"
  git -C "$ROOT" clean -ndx >&2
  [[ -n "$dry_run" ]] || confirm "Delete them for good?"
  run git -C "$ROOT" clean -fdx
}

clean_system() {
  [[ -n "$dry_run" ]] || confirm "Delete apt's cache, logs older than a week, downloads of earlier runs and unused Docker data?"
  run apt-get clean
  run find /var/log -name '*.gz' -type f -delete
  if command -v journalctl >/dev/null; then run journalctl --quiet --vacuum-time=7d || true; fi
  if command -v docker >/dev/null; then run docker system prune --all --force; fi
  run rm -rf "$CACHE/uv"
}

ask_model_server() {
  if [[ -z "${LLM_BASE_URL:-}" ]]; then
    is_terminal || die "--external-model-server needs its address: LLM_BASE_URL=http://HOST:PORT/v1 ./bootstrap.sh ..."
    read -r -p "Address of the model server (http://HOST:PORT/v1): " LLM_BASE_URL
  fi
  [[ "$LLM_BASE_URL" == http*://*/v1 ]] || die "LLM_BASE_URL is '$LLM_BASE_URL'; it is like http://HOST:PORT/v1."
}

check_machine() {
  step=check
  say "Looking at this machine"
  need_cmd apt-get "This runs on Debian 12 and 13."
  # shellcheck source=/dev/null
  . /etc/os-release
  case "${ID:-}-${VERSION_ID:-}" in
    debian-12 | debian-13) ;;
    *) warn "this is ${PRETTY_NAME:-no Debian}; it is tried on Debian 12 and 13." ;;
  esac
  if [[ -z "$user" && -f /etc/twin/twin.env ]]; then user="$(stat -c %U /etc/twin/twin.env)"; fi
  mode=standalone why="no cluster software (Nomad) is at hand"
  if [[ -n "$standalone" ]]; then
    why="asked for by --standalone"
  elif command -v nomad >/dev/null; then
    why="the roles that would use this machine's Nomad come with the cluster"
  fi
  init=supervisord
  if [[ -d /run/systemd/system ]]; then init=systemd; fi
  say "Mode: $mode, because: $why. Services are kept running by $init."
}

install_packages() { # what Ansible needs before it can install the rest
  step=packages
  local wanted=(python3 python3-venv python3-apt ca-certificates iproute2) missing=() name
  for name in "${wanted[@]}"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  if ((${#missing[@]} == 0)); then say "Debian packages: in order"; return; fi
  say "Debian packages: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  quietly apt-get update
  quietly apt-get install -y --no-install-recommends "${missing[@]}"
}

use_registry_of_pip() { # uv reads no pip configuration; hand the registry on
  local index
  index="$("$PREFIX/bootstrap/bin/pip" config get global.index-url 2>/dev/null || true)"
  index="${PIP_INDEX_URL:-$index}"
  if [[ -n "$index" && -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]]; then export UV_DEFAULT_INDEX="$index"; fi
}

install_ansible() {
  step=ansible
  local lock="$ROOT/requirements-bootstrap.txt" mark="$PREFIX/bootstrap/requirements.txt"
  if cmp -s "$lock" "$mark" && "$PREFIX/bootstrap/bin/python" -c '' 2>/dev/null; then say "Ansible: in order"; return; fi
  say "Ansible: installing into $PREFIX/bootstrap"
  quietly python3 -m venv --clear "$PREFIX/bootstrap"
  quietly "$PREFIX/bootstrap/bin/pip" install --require-hashes -r "$lock"
  run cp "$lock" "$mark"
}

remaining_plays() { # the plays that are not complete, by the state file; all of them without --continue
  local play last=-1 i
  if [[ -n "$resume" && -f "$STATE" ]]; then
    for i in "${!PLAYS[@]}"; do
      grep -qx "done ${PLAYS[i]}" "$STATE" || break
      last=$i
    done
  fi
  for play in "${PLAYS[@]:last+1}"; do printf '%s\n' "$ROOT/playbooks/$play.yaml"; done
}

run_playbooks() {
  step=playbook
  local plays args=() vars
  mapfile -t plays < <(remaining_plays)
  if ((${#plays[@]} == 0)); then say "Every step was complete already"; return; fi
  if ((${#plays[@]} == ${#PLAYS[@]})); then plays=("$ROOT/playbook.yaml"); fi
  say "Setting up: ${plays[*]##*/}"
  vars="$(printf '{"ansible_become": false, "twin_progress_file": "%s"' "$PROGRESS")"
  vars+=", \"twin_init\": \"${init/supervisord/supervisor}\""
  if [[ -n "$user" ]]; then vars+=", \"twin_user\": \"$user\""; fi
  if [[ -n "$run_local" ]]; then vars+=', "software_run_local": true'; fi
  if [[ -n "$benchmark" ]]; then vars+=', "pipecatapp_benchmark_mode": true'; fi
  if [[ -n "$external" ]]; then vars+=", \"twin_llm_base_url\": \"${LLM_BASE_URL:-}\""; fi
  args=(-e "$vars}")
  if [[ -n "$tags" ]]; then args+=(--tags "$tags"); fi
  if ((verbose > 0)); then args+=("-$(printf 'v%.0s' $(seq "$verbose"))"); export ANSIBLE_STDOUT_CALLBACK=default; fi
  export ANSIBLE_CONFIG="$ROOT/ansible.cfg" LC_ALL=C.UTF-8 HOME="${HOME:-/root}"
  export TWIN_PROGRESS_FILE="$PROGRESS" TWIN_STATE_FILE="$STATE" TWIN_WATCH="$watch_target" TWIN_ELAPSED_S="$SECONDS"
  if [[ -z "$dry_run" ]]; then : >"$PROGRESS"; [[ -n "$resume" ]] || : >"$STATE"; fi
  local output=/dev/null
  if [[ -n "$debug" && -z "$dry_run" ]]; then output="$ROOT/playbook_output.log"; fi
  run "$PREFIX/bootstrap/bin/ansible-playbook" "${args[@]}" "${plays[@]}" | tee "$output" ||
    die "a step failed; the lines above say which. When it is put right: ./bootstrap.sh --continue"
  run rm -f "$STATE"
}

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

report() {
  local address ctl units
  units="$(find /etc/systemd/system/multi-user.target.wants -name 'twin-*' -printf '%f ' 2>/dev/null | sed 's/\.service//g' || true)"
  ctl="$PREFIX/bootstrap/bin/supervisorctl -c /etc/twin/supervisord.conf"
  address="$(ip -4 -o addr show scope global 2>/dev/null | awk '{sub("/.*", "", $4); print $4; exit}' || true)"
  say "Twin is ready."
  cat <<TEXT

  Here            http://localhost:8000
  In the house    https://${address:-$HOSTNAME}:8443   (a microphone needs https; http://${address:-$HOSTNAME}:8000 tells how to trust it)
  Mode            $mode, because: $why
TEXT
  if [[ "$init" == systemd ]]; then
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
  printf '  Remove          scripts/uninstall\n'
}

interrupted() {
  trap - INT TERM
  printf '\n' >&2
  say "Interrupted during '$step'. Nothing is lost: ./bootstrap.sh --continue goes on from there."
  exit 130
}

main() {
  parse "$@"
  if [[ -n "$clean" ]]; then clean_checkout; fi
  if [[ -n "$external" ]]; then ask_model_server; export LLM_BASE_URL; fi
  become_root "$@"
  trap interrupted INT TERM
  if [[ -n "$system_cleanup" ]]; then clean_system; fi
  if [[ -z "$dry_run" ]]; then mkdir -p "$CACHE" "$PREFIX"; fi
  check_machine
  install_packages
  install_ansible
  use_registry_of_pip
  run_playbooks
  if [[ -n "$benchmark" ]]; then run_benchmark; fi
  if [[ -z "$dry_run" && -z "$tags" ]]; then report; fi
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then main "$@"; fi
