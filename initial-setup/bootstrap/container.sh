#!/usr/bin/env bash
# Summary: The whole node inside one container of this machine's Docker: Debian with systemd, set up by bootstrap.sh.
# Usage: sourced by bootstrap.sh
# shellcheck disable=SC2034,SC2153,SC2154 # variables are bootstrap.sh's
set -euo pipefail

# Docker mounts the container's own cgroups to be read only; systemd makes one for each service.
CONTAINER_INIT='mount -o remount,rw /sys/fs/cgroup && exec /sbin/init'
# A cluster's secrets and state: with them a new container is the controller that the old one was.
CONTAINER_STATE=(--volume twin-cluster:/var/lib/twin-cluster --volume twin-consul:/var/lib/consul --volume twin-nomad:/var/lib/nomad)
CONTAINER_NAME=twin CONTAINER_IMAGE=twin-node:trixie CONTAINER_HOME=/srv/twin

container_arguments() { # container_arguments ARG...: the options for bootstrap.sh inside, one a line
  local argument
  while IFS= read -r argument; do
    case "$argument" in
      --container | --clean | --system-cleanup) ;;
      *) printf '%s\n' "$argument" ;;
    esac
  done < <(without_token "$@")
}

build_container_image() { # a minimal Debian from this machine's own package mirror; no registry of images is asked
  local root="$CACHE/container-root" mirror
  if docker image inspect "$CONTAINER_IMAGE" >/dev/null 2>&1; then say "Image $CONTAINER_IMAGE: in order"; return; fi
  say "Image $CONTAINER_IMAGE: building"
  need_cmd debootstrap "Install it: apt-get install debootstrap"
  mirror="$(awk '$1 == "URIs:" && $2 ~ /debian\/?$/ {print $2; exit} $1 == "deb" && $2 ~ /debian\/?$/ {print $2; exit}' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true)"
  run rm -rf "$root"
  quietly debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates,git,iproute2,procps,sudo \
    trixie "$root" ${mirror:+"$mirror"}
  if [[ -z "$dry_run" ]]; then
    tar -C "$root" --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' -c . |
      docker import -c "CMD [\"/bin/sh\", \"-c\", \"$CONTAINER_INIT\"]" -c 'STOPSIGNAL SIGRTMIN+3' - "$CONTAINER_IMAGE" >/dev/null
  fi
  run rm -rf "$root"
}

start_container() {
  if docker container inspect "$CONTAINER_NAME" >/dev/null 2>&1; then run docker start "$CONTAINER_NAME" >/dev/null; return; fi
  local lent=(/etc/resolv.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt) mounts=() file
  for file in "${lent[@]}"; do if [[ -f "$file" ]]; then mounts+=(--volume "$file:$file:ro"); fi; done
  # systemd wants its own /run and cgroup; the host's network, because voice comes to many UDP ports.
  run docker run --detach --name "$CONTAINER_NAME" --restart unless-stopped --network host \
    --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
    --cgroupns private --tmpfs /run --tmpfs /run/lock --tmpfs /tmp \
    --volume twin-data:/var/lib/twin --volume twin-programs:/opt/twin --volume twin-cache:/var/cache/twin \
    "${CONTAINER_STATE[@]}" --volume "$ROOT:$CONTAINER_HOME" "${mounts[@]}" "$CONTAINER_IMAGE" >/dev/null
}

run_in_container() { # run_in_container ARG...
  local arguments keep variable
  step=container
  need_cmd docker "--container needs a running Docker engine: apt-get install docker.io docker-cli, then this command again."
  docker info >/dev/null 2>&1 || die "Docker is installed and does not answer: systemctl start docker, then this command again."
  build_container_image
  start_container
  mapfile -t arguments < <(container_arguments "$@")
  keep=()
  while IFS= read -r variable; do keep+=(--env "$variable"); done < <(compgen -e | grep -E "$HANDED_ON" || true)
  say "Inside the container: ./bootstrap.sh ${arguments[*]}"
  run docker exec "${keep[@]}" "$CONTAINER_NAME" bash -c 'for _ in $(seq 60); do [ -d /run/systemd/system ] && break; sleep 1; done'
  run docker exec "${keep[@]}" "$CONTAINER_NAME" "$CONTAINER_HOME/bootstrap.sh" "${arguments[@]}" ||
    die "it failed inside the container. To look around: docker exec -it $CONTAINER_NAME bash"
  say "The node runs in the container '$CONTAINER_NAME'. Stop: docker stop $CONTAINER_NAME   Remove: docker rm -f $CONTAINER_NAME (volumes twin-* stay)"
}
