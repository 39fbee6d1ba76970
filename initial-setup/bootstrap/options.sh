#!/usr/bin/env bash
# Summary: The options of bootstrap.sh: what was given, and what does not go together.
# Usage: sourced by bootstrap.sh
# shellcheck disable=SC2034,SC2153,SC2154 # variables are bootstrap.sh's
set -euo pipefail

parse() {
  local flag value
  while (($#)); do
    flag="$1" value="${2:-}"
    shift
    if [[ "$flag" == --*=* ]]; then value="${flag#*=}" flag="${flag%%=*}"; set -- "$value" "$@"; fi
    case "$flag" in
      --role | --user | --tags | --watch | --controller-ip | --token)
        [[ -n "$value" && "$value" != --* ]] || die "$flag needs a value; ./bootstrap.sh --help tells which."
        shift ;;&
      --role) role="$value" ;;
      --user) user="$value" ;;
      --tags) tags="$value" ;;
      --watch) watch_target="$value" ;;
      --controller-ip) controller_ip="$value" ;;
      --token) export TWIN_JOIN_TOKEN="$value" ;; # by the environment from here on, not by arguments
      --verbose) verbose=3; if [[ "$value" == [0-9]* ]]; then verbose="$value"; shift; fi ;;
      --debug) debug=yes verbose=4 ;;
      --dry-run) dry_run=yes ;;
      --standalone) standalone=yes ;;
      --external-model-server) external=yes ;;
      --run-local) run_local=yes ;;
      --deploy-docker) deploy_docker=yes ;;
      --container) container=yes ;;
      --purge-jobs) purge_jobs=yes ;;
      --leave-services-running) leave_running=yes ;;
      --home-assistant-debug) home_assistant=yes ;;
      --benchmark) benchmark=yes ;;
      --continue) resume=yes ;;
      --clean) clean=yes ;;
      --system-cleanup) system_cleanup=yes ;;
      -h | --help) usage; exit 0 ;;
      *) die "unknown option '$flag'. ./bootstrap.sh --help lists the known ones." ;;
    esac
  done
  check_options
}

tags_in() { sed -n 's/^.*tags: \[\([a-z_, ]*\)\].*$/\1/p' "$@" | tr -s ', ' '\n' | grep -v '^always$' | sort -u; }

known_tags() { # the tags of playbook.yaml's playbooks, which are roles, and of the phases of these roles, one a line
  local plays roles phases
  mapfile -t plays < <(all_plays)
  mapfile -t roles < <(tags_in "${plays[@]/#/$ROOT/}")
  phases=("${roles[@]/#/$ROOT/ansible/roles/}")
  printf '%s\n' "${roles[@]}"
  tags_in "${phases[@]/%//tasks/main.yaml}"
}

check_tags() { # a tag that nothing has would be a run that does nothing
  local known tag wanted
  known="$(known_tags)"
  IFS=, read -r -a wanted <<<"$tags"
  for tag in "${wanted[@]}"; do
    grep -qxF -- "$tag" <<<"$known" ||
      die "there is no part '$tag'; known: $(grep -vE '_(preflight|install|configure|run|firewall|image|save)$' <<<"$known" | paste -sd ' ')."
  done
}

check_options() {
  [[ "$verbose" =~ ^[0-4]$ ]] || die "--verbose takes a number from 0 to 4, not '$verbose'."
  [[ "$role" =~ ^(all|controller|worker)$ ]] || die "unknown role '$role'; known: all controller worker."
  [[ -z "$user" || "$user" =~ ^[a-z_][a-z0-9_-]*$ ]] || die "'$user' is no name of a user."
  [[ "$user" != root ]] || die "the services do not run as root; name another user."
  [[ -z "$watch_target" ]] || is_terminal || die "--watch waits for a key, and there is no terminal here."
  [[ -z "$tags" ]] || check_tags
  [[ -z "$run_local" || -z "$deploy_docker" ]] || die "--run-local and --deploy-docker are two ways to run the agent; take one."
  [[ "$role" == all || -z "$standalone" ]] || die "--standalone is one machine without a cluster; --role $role is part of one."
  [[ -z "$container" || "$role" != worker ]] ||
    die "a worker is set up by ssh, which reaches this machine and not a container in it. Leave --container away."
  if [[ "$role" != worker ]]; then
    [[ -z "$controller_ip" ]] || die "--controller-ip names the controller of a --role worker; this machine is to be '$role'."
    [[ -z "${TWIN_JOIN_TOKEN:-}" ]] || die "--token is what a --role worker joins by; this machine is to be '$role'."
    return 0
  fi
  if [[ -z "$controller_ip" && -r "$CONTROL_NODE_FILE" ]]; then controller_ip="$(<"$CONTROL_NODE_FILE")"; fi
  [[ -n "$controller_ip" ]] || die "--role worker needs --controller-ip, the controller's address in the house's network."
  [[ "$controller_ip" =~ ^[A-Za-z0-9.:-]+$ ]] || die "'$controller_ip' is no address."
  [[ "$controller_ip" != *:* ]] || die "'$controller_ip' is an IPv6 address, and nodes talk to each other over IPv4; give the controller's IPv4 address."
  [[ -z "$tags$resume$watch_target$benchmark$external$purge_jobs" ]] ||
    die "a worker is set up by its controller; --tags, --continue, --watch, --benchmark, --external-model-server and --purge-jobs belong there."
}
