#!/usr/bin/env bash
# Summary: Set Twin up on this machine and start it on port 8000.
#
# Usage: ./bootstrap.sh [option...]
#
#   --role ROLE              all (default): whatever fits this machine; controller: the first machine of a cluster,
#                            builds what a cluster needs; worker: a further machine of one (needs --controller-ip)
#   --controller-ip IP       the controller that a worker joins
#   --token TOKEN            what a worker joins by; asked for, hidden, when not given here or in TWIN_JOIN_TOKEN
#   --standalone             one machine, no cluster (also what is chosen when no Nomad is at hand)
#   --user NAME              user that the services run as (default: pipecatapp)
#   --tags A,B               only the parts with these tags, such as models or ingress_configure
#   --external-model-server  let the server at LLM_BASE_URL think; fetches no language model
#   --deploy-docker          in a cluster, run the agent in Docker (default where Docker runs already)
#   --run-local              run the agent without Docker; standalone: from this checkout, to try changes
#   --container              run the whole node inside one container of this machine's Docker
#   --purge-jobs             first stop and forget every Nomad job; what the agent remembers stays
#   --leave-services-running keep services and data as they are; always so, the flag only says it
#   --home-assistant-debug   have what talks to Home Assistant log more
#   --benchmark              measure the latency of voice at the end
#   --continue               go on after the last complete step of a run that was broken off, with its options
#   --watch TARGET           wait for Enter after this task or role, to look around
#   --dry-run                say what would be done, do nothing
#   --verbose [0-4]          how much Ansible tells (default 0; 3 without a number)
#   --debug                  all that Ansible can tell, also into playbook_output.log
#   --clean                  first delete every untracked file of this checkout (asks)
#   --system-cleanup         first free disk space: apt's cache, old logs, unused Docker data (asks)
#   --help                   this text
#
# Run it again at any time: what is in order is left alone. docs/bootstrap.md tells more. Variables:
#   LLM_BASE_URL     OpenAI-compatible server, ending in /v1, for --external-model-server
#   TWIN_MIRROR_URL  a server in the house that has models and binaries
#   TWIN_JOIN_TOKEN  what a worker joins by
#   TWIN_PATH        folders of programs, in place of the system's: PATH and all else of the shell's is left out
#   PIP_*, UV_*, *_proxy, SSL_CERT_*  where packages come from (not where they go), handed on to pip, uv and apt
set -euo pipefail
umask 022 # what is installed is for the service's user to read, whatever root's own files are

# shellcheck source=initial-setup/bootstrap/environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/initial-setup/bootstrap/environment.sh"
clean_environment # before a variable is set here that the caller's shell may have too

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly ROOT
readonly PREFIX="${TWIN_PREFIX:-/opt/twin}" CACHE="${TWIN_CACHE:-/var/cache/twin}" CONFIG="${TWIN_CONFIG:-/etc/twin}"
readonly CONTROL_NODE_FILE="$CONFIG/control_node" STATE="$CACHE/bootstrap.state" LOG="$CACHE/bootstrap.log" PROGRESS="$CACHE/progress"
PACKAGES=(python3 python3-venv python3-apt ca-certificates iproute2) # what Ansible needs before it can install the rest
step="the start" at_work="" at_work_pid="" log_begin=0 # what works quietly, in the background

user="" tags="" role=all verbose=0 debug="" dry_run="" resume="" watch_target=""
standalone="" external="" run_local="" benchmark="" clean="" system_cleanup=""
controller_ip="" purge_jobs="" leave_running="" deploy_docker="" container="" home_assistant=""
mode=standalone why="" init=supervisord

# shellcheck source=initial-setup/bootstrap/failures.sh
source "$ROOT/initial-setup/bootstrap/failures.sh"
# shellcheck source=initial-setup/bootstrap/python.sh
source "$ROOT/initial-setup/bootstrap/python.sh"
# shellcheck source=initial-setup/bootstrap/packages.sh
source "$ROOT/initial-setup/bootstrap/packages.sh"
# shellcheck source=initial-setup/bootstrap/options.sh
source "$ROOT/initial-setup/bootstrap/options.sh"
# shellcheck source=initial-setup/bootstrap/mode.sh
source "$ROOT/initial-setup/bootstrap/mode.sh"
# shellcheck source=initial-setup/bootstrap/cleaning.sh
source "$ROOT/initial-setup/bootstrap/cleaning.sh"
# shellcheck source=initial-setup/bootstrap/worker.sh
source "$ROOT/initial-setup/bootstrap/worker.sh"
# shellcheck source=initial-setup/bootstrap/container.sh
source "$ROOT/initial-setup/bootstrap/container.sh"
# shellcheck source=initial-setup/bootstrap/resume.sh
source "$ROOT/initial-setup/bootstrap/resume.sh"
# shellcheck source=initial-setup/bootstrap/report.sh
source "$ROOT/initial-setup/bootstrap/report.sh"

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

logged() { # logged CMD...: its output goes to the log; on a terminal its last line is shown
  if [[ -n "$dry_run" ]]; then run "$@"; return; fi
  log_begin="$(stat -c %s "$LOG" 2>/dev/null || printf 0)"
  "$@" >>"$LOG" 2>&1 &
  at_work="${1##*/} ${2:-}" at_work_pid=$!
  local status=0
  while [[ -t 2 ]] && kill -0 "$at_work_pid" 2>/dev/null; do
    printf '\r\033[K        ... %.60s' "$(tail -n 1 "$LOG" | tr -d '\r')" >&2
    sleep 0.5
  done
  [[ ! -t 2 ]] || printf '\r\033[K' >&2
  wait "$at_work_pid" || status=$?
  at_work_pid=""
  return "$status"
}
quietly() { logged "$@" || fail_logged "$@"; }

usage() { sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

without_token() { # without_token ARG...: the arguments but the token's, one a line; it goes by the environment
  while (($#)); do
    case "$1" in
      --token) shift ;;
      --token=*) ;;
      *) printf '%s\n' "$1" ;;
    esac
    shift
  done
}

become_root() { # become_root ARG...: start again by sudo, which asks for the password once
  ((EUID != 0)) && [[ -z "$dry_run" ]] || return 0
  local arguments
  need_cmd sudo "Log in as root (su -) and run ./bootstrap.sh there, or install sudo."
  local keep
  keep="$(compgen -e | grep -E "$HANDED_ON" | paste -sd, || true)"
  say "Setting up needs root; sudo may ask for your password, once."
  sudo -v || die "sudo did not let you in: a wrong password, or no right to use it. Nothing was done; try again, or run it as root (su -)."
  mapfile -t arguments < <(without_token "$@")
  exec sudo ${keep:+--preserve-env="$keep"} -- "${BASH_SOURCE[0]}" "${arguments[@]}"
}

ask_model_server() {
  if [[ -z "${LLM_BASE_URL:-}" ]]; then
    is_terminal || die "--external-model-server needs its address: LLM_BASE_URL=http://HOST:PORT/v1 ./bootstrap.sh ..."
    read -r -p "Address of the model server (http://HOST:PORT/v1): " LLM_BASE_URL
  fi
  [[ "$LLM_BASE_URL" == http*://*/v1 ]] || die "LLM_BASE_URL is '$LLM_BASE_URL'; it is like http://HOST:PORT/v1."
}

variables() { # what is handed on to Ansible, as JSON
  local vars
  vars="$(printf '{"twin_progress_file": "%s"' "$PROGRESS")"
  if [[ "$mode" == cluster ]]; then
    vars+=', "twin_mode": "cluster"'
  else # this machine alone, and root already
    vars+=", \"ansible_become\": false, \"twin_init\": \"${init/supervisord/supervisor}\""
  fi
  if [[ -n "$user" ]]; then vars+=", \"twin_user\": \"$user\""; fi
  if [[ -n "$deploy_docker" ]]; then vars+=', "pipecatapp_driver": "docker"'; fi
  if [[ -n "$run_local" && "$mode" == cluster ]]; then vars+=', "pipecatapp_driver": "raw_exec"'; fi
  if [[ -n "$run_local" && "$mode" == standalone ]]; then vars+=', "software_run_local": true'; fi
  if [[ -n "$home_assistant" ]]; then vars+=', "twin_home_assistant_debug": true'; fi
  if [[ -n "$benchmark" ]]; then vars+=', "pipecatapp_benchmark_mode": true'; fi
  if [[ -n "$external" ]]; then vars+=", \"twin_llm_base_url\": \"${LLM_BASE_URL:-}\""; fi
  printf '%s}' "$vars"
}

run_playbooks() {
  step=playbook
  local plays args
  mapfile -t plays < <(remaining_plays)
  if ((${#plays[@]} == 0)); then say "Every step was complete already"; return; fi
  if ((${#plays[@]} == $(all_plays | wc -l))); then plays=("$ROOT/playbook.yaml"); fi
  say "Setting up: ${plays[*]##*/}"
  args=(-e "$(variables)")
  if [[ -n "$tags" ]]; then args+=(--tags "$tags"); fi
  if ((verbose > 0)); then args+=("-$(printf 'v%.0s' $(seq "$verbose"))"); export ANSIBLE_STDOUT_CALLBACK=default; fi
  export TWIN_PROGRESS_FILE="$PROGRESS" TWIN_STATE_FILE="$STATE" TWIN_WATCH="$watch_target" TWIN_ELAPSED_S="$SECONDS"
  if [[ -z "$dry_run" ]]; then : >"$PROGRESS"; fi
  local output=/dev/null
  if [[ -n "$debug" && -z "$dry_run" ]]; then output="$ROOT/playbook_output.log"; fi
  run "$PREFIX/bootstrap/bin/ansible-playbook" "${args[@]}" "${plays[@]}" | tee "$output" ||
    die "a step failed; the lines above say which. When it is put right: ./bootstrap.sh --continue"
  forget_run
}

end_quiet_work() { # Ctrl-C does not reach what works in the background; packages are never left half installed
  [[ -n "$at_work_pid" ]] || return 0
  if [[ "$at_work" == "apt-get install" ]]; then
    say "Waiting until apt has ended what it began"
  else
    kill "$at_work_pid" 2>/dev/null || true
  fi
  wait "$at_work_pid" 2>/dev/null || true
}

interrupted() {
  trap '' INT # a second one would end this before it has said how to go on; TERM ends it
  trap - TERM
  printf '\n' >&2
  end_quiet_work
  if [[ "$role" == worker ]]; then
    say "Interrupted during '$step'. What the controller has begun, it goes on with; the same command with a new token watches again."
  else
    say "Interrupted during '$step'. Nothing is lost: ./bootstrap.sh --continue goes on from there."
  fi
  exit 130
}

main() {
  local given
  use_kept_options "$@"
  set -- "${given[@]}"
  parse "$@"
  tell_left_out
  if [[ -n "$clean" ]]; then clean_checkout; fi
  if [[ -n "$external" ]]; then ask_model_server; export LLM_BASE_URL; fi
  become_root "$@"
  trap interrupted INT TERM
  if [[ -n "$system_cleanup" ]]; then clean_system; fi
  if [[ -z "$dry_run" ]]; then install -d -m 0755 "$CACHE" "$PREFIX"; fi
  prepare_environment
  if [[ -n "$container" ]]; then keep_options "$@"; run_in_container "$@"; forget_run; return; fi
  check_machine
  if [[ "$role" == worker ]]; then join_cluster; return; fi
  keep_options "$@"
  install_packages
  install_ansible
  ! has_proxy || spare_proxy "$(machine_name)" "$(lan_address || true)"
  export ANSIBLE_CONFIG="$ROOT/ansible.cfg" PYTHONDONTWRITEBYTECODE=1 # no file of root's among the checkout's
  check_inventory
  name_this_machine
  if [[ -n "$purge_jobs" ]]; then purge_cluster_jobs; run sed -i '/^--purge-jobs$/d' "$OPTIONS"; fi # once
  run_playbooks
  if [[ -n "$benchmark" ]]; then run_benchmark; fi
  if [[ -z "$dry_run" && -z "$tags" ]]; then report; fi
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then main "$@"; fi
