#!/usr/bin/env bash
# Summary: Make the images that the agent runs from in containers, without any registry.
#
# Usage: images.sh COMMAND
#
#   base    Debian from its own packages, and the node's Python environment beside it: twin-base:TAG
#   agent   the base, the node's release of the agent and its user: twin-agent:TAG
#   prune   remove images that are no longer kept; prints what it removed
#
# Variables:
#   PREFIX         folder of the installed programs, such as /opt/twin
#   BASE_TAG       tag of twin-base
#   AGENT_TAG      tag of twin-agent (agent, prune)
#   SUITE          Debian's suite, such as trixie (base)
#   PACKAGES       Debian packages in it, with commas between (base)
#   REQUIREMENTS   sha256 of the lock file that the environment was made from (base)
#   AGENT_USER     user that the agent runs as; its numbers are this node's (agent)
#   MOUNTS         folders that the job mounts, with spaces between (base)
#   KEEP           images of each name that stay, newest first, >= 1 (prune)
set -euo pipefail

readonly CONTAINER=twin-image-new

die() { printf '%s\n' "$*" >&2; exit 1; }

apt_sources() { # the files that say where this node has Debian's packages from
  grep --files-with-matches --no-messages --extended-regexp '^(deb|URIs:) .*debian' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources || true
}

excluded() { # options that leave out what no program reads
  printf -- '--dpkgopt=path-exclude=%s\n' '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/info/*' \
    '/usr/share/locale/*'
}

make_base() {
  local sources options
  sha256sum --check --status <<<"$REQUIREMENTS  $PREFIX/requirements.txt" \
    || die "$PREFIX/requirements.txt is of another release; run the whole playbook on this node first."
  mapfile -t sources < <(apt_sources)
  ((${#sources[@]})) || die "This node's apt names no Debian source below /etc/apt."
  mapfile -t options < <(excluded)
  # shellcheck disable=SC2016 # the hook's own shell expands $1, the new root
  mmdebstrap --quiet --mode=root --variant=essential --format=tar "${options[@]}" \
    --aptopt='Apt::Install-Recommends "false"' --include="$PACKAGES" \
    --customize-hook='cd "$1" && mkdir -p ".$PREFIX" && for path in $MOUNTS; do mkdir -p ".$path"; done' \
    --customize-hook='cp --archive "$PREFIX/venv" "$1$PREFIX/"' \
    "$SUITE" - "${sources[@]}" | docker import - twin-base:new
  # Only what was made to the end gets its name.
  docker image tag twin-base:new "twin-base:$BASE_TAG"
  docker image rm twin-base:new >/dev/null
}

account() { # account FILE TEXT: FILE of the container and this line, in the folder of what is new
  docker cp --quiet "$CONTAINER:/etc/$1" "$work/etc/$1"
  printf '%s\n' "$2" >>"$work/etc/$1"
}

make_agent() {
  local release uid gid work
  release="$(basename "$(readlink "$PREFIX/app")")"
  uid="$(id -u "$AGENT_USER")"
  gid="$(id -g "$AGENT_USER")"
  work="$(mktemp -d)"
  docker rm --force "$CONTAINER" >/dev/null 2>&1 || true
  # shellcheck disable=SC2064 # the folder is to be expanded now
  trap "rm -rf '$work'; docker rm --force $CONTAINER >/dev/null" EXIT
  docker create --quiet --network none --name "$CONTAINER" "twin-base:$BASE_TAG" true >/dev/null
  mkdir -p "$work/etc" "$work$PREFIX/releases"
  account group "$AGENT_USER:x:$gid:"
  account passwd "$AGENT_USER:x:$uid:$gid::/var/lib/twin:/usr/sbin/nologin"
  cp --archive "$PREFIX/releases/$release" "$work$PREFIX/releases/"
  ln -s "$PREFIX/releases/$release" "$work$PREFIX/app"
  cp --preserve=mode "$PREFIX/twin" "$work$PREFIX/twin"
  # No entry for a folder that the base has: it would take on the mode of the one here.
  tar -C "$work" --owner=0 --group=0 -c etc/group etc/passwd \
    "${PREFIX#/}/app" "${PREFIX#/}/twin" "${PREFIX#/}/releases" | docker cp --quiet - "$CONTAINER:/"
  docker commit --change "USER $AGENT_USER" --change "CMD [\"$PREFIX/twin\", \"serve\"]" \
    "$CONTAINER" "twin-agent:$AGENT_TAG"
}

prune() {
  local name current tag
  for name in base agent; do
    current="$BASE_TAG"
    [[ "$name" == base ]] || current="$AGENT_TAG"
    while read -r tag; do
      # One that a container still uses stays.
      docker image rm "twin-$name:$tag" 2>/dev/null || true
    done < <(docker image ls --format '{{.Tag}}' "twin-$name" | grep --fixed-strings --line-regexp --invert-match "$current" | tail -n "+$KEEP")
  done
}

main() {
  export PREFIX MOUNTS="${MOUNTS:-}"
  case "${1:-}" in
    base) make_base ;;
    agent) make_agent ;;
    prune) prune ;;
    *) die "unknown command '${1:-}'; known: base agent prune" ;;
  esac
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then main "$@"; fi
