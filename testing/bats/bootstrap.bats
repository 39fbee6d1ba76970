#!/usr/bin/env bats
# What bootstrap.sh says, refuses, resumes and hands on, with every outside program replaced by a recorder.

bats_require_minimum_version 1.5.0

setup() {
  load sealed
  seal
  seal_bootstrap
}

done_until() { # done_until PLAY: the steps are complete up to it
  grep -o 'playbooks/.*yaml' "$ROOT/playbook.yaml" | xargs -n 1 basename -s .yaml | sed "/^$1\$/q" | sed 's/^/done /' >"$TWIN_CACHE/bootstrap.state"
}
with_systemd() { mkdir -p "$SYSTEMD_FOLDER"; }
with_secrets() { mkdir -p "$TWIN_SECRETS" && touch "$TWIN_SECRETS/ca.key"; }
as_node() { mkdir -p "$TWIN_CONFIG" "$TWIN_CONFIG/../nomad.d/tls" && touch "$TWIN_CONFIG/../nomad.d/tls/ca.pem"; }
named() { # named NAME: the machine's name is NAME, its address 10.0.0.1
  rm "$BIN/hostname" # a link to the real program
  record hostname 0 "$1"
  record ip 0 "192.0.2.1 via 10.0.0.254 dev eth0 src 10.0.0.1 uid 0"
}
as_nobody() { # as_nobody PREPARE: become_root as a user without rights, on a PATH of its own; PREPARE fills it
  local open
  open="$(mktemp -d /tmp/sealed.XXXXXX)" # bats' own folder cannot be read by another user
  cp "$ROOT/bootstrap.sh" "$open"
  mkdir -p "$open/initial-setup"
  cp -r "$ROOT/initial-setup/bootstrap" "$open/initial-setup"
  ln -s "$(command -v dirname)" "$(command -v bash)" "$open"
  ln -s "$(command -v grep)" "$(command -v paste)" "$open"
  chmod 755 "$open"
  eval "$1"
  run setpriv --reuid=65534 --clear-groups env PATH="$open" TWIN_PATH="$open" bash -c "source '$open/bootstrap.sh'; become_root"
  rm -r "$open"
}
have_programs() { # Nomad and Consul are on PATH in the wanted versions
  local name
  for name in Nomad Consul; do
    record "${name,,}" 0 "$name v$(awk -v name="${name,,}" '$2 == "name:" {on = ($3 == name)} on && /version:/ {print $2; exit}' "$ROOT/group_vars/artifacts.yaml")"
  done
}
with_network() { ln -s "$(command -v curl)" "$BIN"; }
serve() { # a real server of the folder SERVED, on SERVER_PORT
  SERVED="$BATS_TEST_TMPDIR/served"
  mkdir "$SERVED"
  python3 -u -m http.server --bind 127.0.0.1 --directory "$SERVED" 0 >"$BATS_TEST_TMPDIR/server.log" 2>&1 3>&- &
  SERVER=$!
  until SERVER_PORT="$(grep -oP 'port \K[0-9]+' "$BATS_TEST_TMPDIR/server.log")"; do kill -0 "$SERVER"; sleep 0.05; done
}
use_mirror() { export TWIN_MIRROR_URL="$1"; }
offer() { # offer PROGRAM: the server has it in the wanted version, as `twin models mirror` lays it out
  local path
  path="$(ROOT="$ROOT" bash -c 'source "$ROOT/initial-setup/bootstrap/mode.sh"; catalogue "$1" mirror-path' - "$1")"
  mkdir -p "$SERVED/$(dirname "$path")"
  touch "$SERVED/$path"
}
teardown() { if [[ -n "${SERVER:-}" ]]; then kill "$SERVER"; fi; }
need_root() { [ "$EUID" -eq 0 ] || skip "needs root"; }

@test "help names every flag" {
  run bootstrap --help
  [ "$status" -eq 0 ]
  for flag in standalone role controller-ip token user tags external-model-server run-local deploy-docker container \
    purge-jobs leave-services-running home-assistant-debug benchmark continue watch dry-run verbose debug clean \
    system-cleanup help; do
    [[ "$output" == *"--$flag"* ]]
  done
}

@test "an unknown flag stops with a sentence" {
  run bootstrap --frobnicate
  [ "$status" -ne 0 ]
  [[ "$output" == *"unknown option '--frobnicate'"* ]]
}

@test "a tag that nothing has lists those that there are" {
  run bootstrap --dry-run --tags ingress,modles
  [ "$status" -ne 0 ]
  [[ "$output" == *"there is no part 'modles'; known: "*" ingress "*" models "* ]]
  run bootstrap --dry-run --tags ingress,models,ingress_configure
  [ "$status" -eq 0 ]
}

@test "a role that does not exist lists those that do" {
  run bootstrap --role king
  [ "$status" -ne 0 ]
  [[ "$output" == *"known: all controller worker"* ]]
}

@test "what does not go together stops with a sentence" {
  local words
  for words in "--controller-ip 10.0.0.1" "--token x" "--role controller --standalone" "--role worker" \
    "--run-local --deploy-docker" "--role worker --controller-ip 10.0.0.1 --tags models" \
    "--role worker --controller-ip 10.0.0.1 --container" "--role worker --controller-ip 10.0.0.1 --continue" "--role worker --controller-ip fd00::1" "--role worker --controller-ip \$(id)"; do
    # shellcheck disable=SC2086 # several words
    run bootstrap --dry-run $words
    [ "$status" -ne 0 ]
    [[ "$output" == "bootstrap: "*"."* ]]
  done
}

@test "a worker needs to know its controller" {
  run bootstrap --role worker
  [ "$status" -ne 0 ]
  [[ "$output" == *"--role worker needs --controller-ip"* ]]
}

@test "a cluster needs systemd" {
  for role in "controller" "worker --controller-ip 10.0.0.1"; do
    # shellcheck disable=SC2086 # two words
    run bootstrap --dry-run --role $role
    [ "$status" -ne 0 ]
    [[ "$output" == *"needs systemd"* ]]
  done
}

@test "a controller gets its name into the inventory and a cluster's variables" {
  with_systemd
  named den.house
  run bootstrap --dry-run --role controller
  [ "$status" -eq 0 ]
  [[ "$output" == *"Mode: cluster, because: asked for by --role controller"* ]]
  [[ "$output" == *"name-this $ROOT/inventory.yaml den ansible_host=10.0.0.1 ansible_connection=local"* ]]
  [[ "$output" == *'"twin_mode": "cluster"'* ]]
  [[ "$output" != *ansible_become* ]]
}

@test "a machine whose name is none of a machine's is told how to get one" {
  with_systemd
  named localhost
  run bootstrap --dry-run --role controller
  [ "$status" -ne 0 ]
  [[ "$output" == *"hostnamectl set-hostname"* ]]
}

@test "a machine is alone by what the inventory says, in any of its forms" {
  local copy="$BATS_TEST_TMPDIR/checkout"
  mkdir "$copy"
  is() { # is alone|named TEXT
    printf '%b' "$2" >"$copy/inventory.yaml"
    run bash -c "ROOT='$copy'; source '$ROOT/initial-setup/bootstrap/mode.sh'; is_alone && echo alone || echo named"
    [ "$output" = "$1" ] || { printf '%s, and it is %s:\n%b' "$output" "$1" "$2"; false; }
  }
  is alone "$(cat "$ROOT/inventory.yaml")"
  is alone 'all:\n  vars: {a: b}\n  children:\n    controller_nodes:\n      hosts:\n        localhost: # here\n          ansible_connection: local\n          twin_workers: 1\n      vars:\n        den: x\n    worker_nodes:\n      hosts: {}\n'
  is alone '# first\n[controller_nodes]\nlocalhost ansible_connection=local\n[worker_nodes]\n[worker_nodes:vars]\nden=1\n'
  is named 'controller_nodes:\n  hosts:\n    den: {ansible_host: 10.0.0.1}\n'
  is named 'controller_nodes:\n  hosts:\n    localhost:\nworker_nodes:\n  hosts:\n    attic:\n'
  is named 'all:\n  children:\n    controller_nodes:\n      hosts:\n        den:\n          ansible_host: 10.0.0.1\n'
  is named '[controller_nodes]\nden ansible_host=10.0.0.1\n'
  is named 'controller_nodes:\n  hosts: {den: {}}\n'
  is named 'controller_nodes:\n  hosts:\n    localhost:\nworker_nodes: {hosts: {attic: }}\n'
  is named 'worker_nodes:\n  hosts: {}\n'
}

@test "a dry run leaves the inventory" {
  with_systemd
  named den
  local before
  before="$(<"$ROOT/inventory.yaml")"
  run bootstrap --dry-run --role controller
  [ "$before" = "$(<"$ROOT/inventory.yaml")" ]
}

@test "alone it is a cluster where Nomad and Consul are on PATH" {
  with_systemd
  named den
  run bootstrap --dry-run
  [[ "$output" == *"Mode: standalone, because: no cluster software"*"--role controller builds it"* ]]
  have_programs
  run bootstrap --dry-run
  [[ "$output" == *"Mode: cluster, because: Nomad and Consul are at hand"* ]]
  run bootstrap --dry-run --standalone
  [[ "$output" == *"Mode: standalone, because: asked for by --standalone"* ]]
}

@test "a mirror makes a cluster only where it has both programs in the wanted versions" {
  with_systemd
  named den
  with_network
  serve
  use_mirror "http://127.0.0.1:$SERVER_PORT/"
  run bootstrap --dry-run # a mirror of models alone
  [[ "$output" == *"Mode: standalone, because: no cluster software"* ]]
  offer nomad
  run bootstrap --dry-run
  [[ "$output" == *"Mode: standalone, because: no cluster software"* ]]
  offer consul
  run bootstrap --dry-run
  [[ "$output" == *"Mode: cluster, because: the mirror http://127.0.0.1:$SERVER_PORT has Nomad and Consul"* ]]
  rm "$SERVED"/artifacts/nomad/*
  touch "$SERVED/artifacts/nomad/0.1.2-000000000000.json" # another version
  run bootstrap --dry-run
  [[ "$output" == *"Mode: standalone, because: no cluster software"* ]]
}

@test "the mirror is asked with whatever program there is" {
  with_systemd
  named den
  serve
  offer nomad
  offer consul
  use_mirror "http://127.0.0.1:$SERVER_PORT"
  ln -s "$(command -v wget)" "$BIN"
  run bootstrap --dry-run
  [[ "$output" == *"Mode: cluster, because: the mirror"* ]]
  rm "$BIN/wget" "$BIN/python3"
  ln -s "$(command -v python3)" "$BIN"
  run bootstrap --dry-run
  [[ "$output" == *"Mode: cluster, because: the mirror"* ]]
}

@test "a dry run on a machine without Python says that it would be installed, and starts alone" {
  with_systemd
  named den
  record nomad 0 "Nomad v0.0.1"
  record consul 0 "Consul v0.0.1"
  with_network
  record dpkg-query 1
  rm "$BIN/python3"
  run bootstrap --dry-run
  [[ "$output" == *"would run: apt-get install -y --no-install-recommends python3 "* ]]
  [[ "$output" == *"Mode: standalone, because: no cluster software"* ]]
}

@test "the catalogue is read by the system's Python alone, without a package" {
  local name
  ln -sf "$(command -v python3)" "$BIN/python3"
  # shellcheck disable=SC2016 # for the shell that is started
  for name in nomad consul; do
    run sealed bash -c 'source "$ROOT/initial-setup/bootstrap/mode.sh"; catalogue "$1" version; catalogue "$1" mirror-path' - "$name"
    [ "$status" -eq 0 ]
    [[ "${lines[0]}" =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]]
    [[ "${lines[1]}" =~ ^artifacts/$name/${lines[0]}-[0-9a-f]{12}\.json$ ]]
  done
  # shellcheck disable=SC2016
  run sealed bash -c 'source "$ROOT/initial-setup/bootstrap/mode.sh"; catalogue abacus version'
  [ "$status" -ne 0 ]
}

@test "the vendor's releases make a cluster too, when both can be had" {
  with_systemd
  named den
  with_network
  serve
  local copy="$BATS_TEST_TMPDIR/checkout"
  mkdir -p "$copy/initial-setup"
  cp -r "$ROOT/initial-setup/bootstrap" "$copy/initial-setup"
  cp -r "$ROOT/bootstrap.sh" "$ROOT/inventory.yaml" "$ROOT/playbook.yaml" "$ROOT/requirements-bootstrap.txt" "$copy"
  mkdir -p "$copy/group_vars" "$copy/pipecatapp/artifacts"
  cp "$ROOT/pipecatapp/artifacts/artifact_key.py" "$copy/pipecatapp/artifacts"
  sed "s|https://releases.hashicorp.com|http://127.0.0.1:$SERVER_PORT|" "$ROOT/group_vars/artifacts.yaml" >"$copy/group_vars/artifacts.yaml"
  local url urls
  mapfile -t urls < <(sed -n "s|.*url: http://127.0.0.1:[0-9]*/||p" "$copy/group_vars/artifacts.yaml" | grep linux_amd64)
  for url in "${urls[@]}"; do
    mkdir -p "$SERVED/$(dirname "$url")"
    touch "$SERVED/$url"
  done
  run sealed "$copy/bootstrap.sh" --dry-run
  if [ "$(uname -m)" = x86_64 ]; then
    [[ "$output" == *"Mode: cluster, because: the vendor's releases of Nomad and Consul can be had"* ]]
  fi
  rm -r "$SERVED/consul"
  run sealed "$copy/bootstrap.sh" --dry-run
  [[ "$output" == *"Mode: standalone, because: no cluster software"* ]]
}

@test "a machine that is set up alone moves to a cluster only when asked" {
  with_systemd
  named den
  have_programs
  mkdir -p "$TWIN_CONFIG"
  touch "$TWIN_CONFIG/twin.env"
  run bootstrap --dry-run
  [[ "$output" == *"Mode: standalone, because: it is set up so already; --role controller"* ]]
  run bootstrap --dry-run --role controller
  [[ "$output" == *"Mode: cluster, because: asked for by --role controller"* ]]
  mkdir -p "$TWIN_CONFIG/../nomad.d" # it moved, and this is a fresh checkout
  run bootstrap --dry-run
  [[ "$output" == *"Mode: cluster, because: Nomad and Consul are at hand"* ]]
}

@test "a newcomer whose machine cannot be named in a cluster starts alone" {
  with_systemd
  named My_Machine
  have_programs
  run bootstrap --dry-run
  [ "$status" -eq 0 ]
  [[ "$output" == *"Mode: standalone, because: a cluster needs a name"*"'My_Machine'"* ]]
}

@test "a controller stays one, also by a checkout that does not know it" {
  with_systemd
  with_secrets
  as_node
  named den
  run bootstrap --dry-run
  [[ "$output" == *"Mode: cluster, because: this machine is a cluster's controller already"* ]]
  run bootstrap --dry-run --standalone
  [ "$status" -ne 0 ]
  [[ "$output" == *"this machine is a controller of a cluster"* ]]
  run bootstrap --dry-run --role worker --controller-ip 10.0.0.1
  [ "$status" -ne 0 ]
  [[ "$output" == *"is or was a controller of a cluster of its own"* ]]
}

@test "what was a controller can be standalone, and is told what it will not remember" {
  with_systemd
  with_secrets
  run bootstrap --dry-run --standalone
  [ "$status" -eq 0 ]
  [[ "$output" == *"is in Consul's store and is not seen standalone"* ]]
}

@test "a worker is set up by its controller only" {
  with_systemd
  as_node
  named attic
  for words in "" "--role controller" "--standalone"; do
    # shellcheck disable=SC2086 # words are several
    run bootstrap --dry-run $words
    [ "$status" -ne 0 ]
    [[ "$output" == *"this machine is a worker of a cluster; its controller sets it up"* ]]
  done
  run bootstrap --dry-run --role worker --controller-ip 10.0.0.1
  [ "$status" -eq 0 ]
}

@test "another version of Nomad on PATH is not the one that is wanted" {
  with_systemd
  record nomad 0 "Nomad v0.1.2"
  record consul 0 "Consul v0.1.2"
  run bootstrap --dry-run
  [[ "$output" == *"Mode: standalone"* ]]
}

@test "the way to run the agent is handed on in a cluster" {
  with_systemd
  named den
  run bootstrap --dry-run --role controller --deploy-docker
  [[ "$output" == *'"pipecatapp_driver": "docker"'* ]]
  run bootstrap --dry-run --role controller --run-local
  [[ "$output" == *'"pipecatapp_driver": "raw_exec"'* ]]
  [[ "$output" != *software_run_local* ]]
  run bootstrap --dry-run --deploy-docker
  [ "$status" -eq 0 ]
  [[ "$output" == *"--deploy-docker is for a cluster"* ]]
}

@test "leaving services running is always so, and said" {
  run bootstrap --dry-run --leave-services-running
  [ "$status" -eq 0 ]
  [[ "$output" == *"that is always so"* ]]
}

@test "jobs are purged in a cluster only" {
  with_systemd
  named den
  run bootstrap --dry-run --purge-jobs
  [[ "$output" == *"no Nomad jobs to purge"* ]]
  run bootstrap --dry-run --role controller --purge-jobs
  [[ "$output" == *"would run: "*"playbooks/purge_jobs.yaml"*"playbook.yaml"* ]]
}

@test "a worker installs little, and its token is in no command line" {
  with_systemd
  record systemctl
  record python3
  run bootstrap --dry-run --role worker --controller-ip 10.0.0.1 --token abc234.secret
  [ "$status" -eq 0 ]
  [[ "$output" == *"python3 -m twin_join worker --controller 10.0.0.1 --port 8072"* ]]
  [[ "$output" != *abc234* ]]
  [[ "$output" != *ansible-playbook* ]]
}

@test "a worker that is refused is told how to try again" {
  need_root
  with_systemd
  record systemctl
  record python3 1
  TWIN_JOIN_TOKEN=x run bootstrap --role worker --controller-ip 10.0.0.1
  [ "$status" -ne 0 ]
  [[ "$output" == *"not part of the cluster"*"new token"* ]]
}

@test "the token goes to root by the environment" {
  run bash -c "source '$ROOT/bootstrap.sh'; without_token --role worker --token abc --user ada --token=abc --debug"
  [ "$output" = "$(printf '%s\n' --role worker --user ada --debug)" ]
}

@test "a wrong sudo password ends in a sentence, and nothing is done" {
  need_root
  # shellcheck disable=SC2016 # expanded where it runs
  as_nobody 'printf "#!%s\nexit 1\n" "$(command -v bash)" >"$open/sudo"; chmod 755 "$open/sudo"'
  [ "$status" -ne 0 ]
  [[ "$output" == *"sudo did not let you in: a wrong password"*"Nothing was done"* ]]
}

@test "a container needs Docker" {
  need_root
  run bootstrap --container
  [ "$status" -ne 0 ]
  [[ "$output" == *"needs a running Docker engine: apt-get install docker.io"* ]]
}

@test "a container gets the other options" {
  record docker
  record debootstrap
  run bootstrap --dry-run --container --role controller --user ada --token x
  [ "$status" -ne 0 ]
  run bootstrap --dry-run --container --role controller --user ada
  [ "$status" -eq 0 ]
  [[ "$output" == *"/srv/twin/bootstrap.sh --dry-run --role controller --user ada"* ]]
}

@test "a container keeps its memory and a controller's state in volumes" {
  # shellcheck disable=SC2016 # the fake expands it
  printf '#!/bin/sh\n[ "$1" = info ]\n' >"$BIN/docker" # it answers, and has no image and no container
  chmod +x "$BIN/docker"
  record debootstrap
  run bootstrap --dry-run --container --role controller
  for folder in /var/lib/twin /var/lib/twin-cluster /var/lib/consul /var/lib/nomad; do
    [[ "$output" =~ "--volume twin-"[a-z]+":$folder " ]]
  done
}

@test "the steps are those of playbook.yaml" {
  run bash -c "source '$ROOT/bootstrap.sh'; all_plays"
  [ "$output" = "$(grep -o 'playbooks/.*yaml' "$ROOT/playbook.yaml")" ]
  [ "${#lines[@]}" -ge 6 ]
}

@test "a value may follow an equals sign" {
  run bootstrap --dry-run --role=all --user=ada
  [ "$status" -eq 0 ]
  [[ "$output" == *'"twin_user": "ada"'* ]]
}

@test "a flag without its value stops" {
  for flag in --role --user --tags --watch; do
    run bootstrap "$flag"
    [ "$status" -ne 0 ]
    [[ "$output" == *"$flag needs a value"* ]]
  done
}

@test "a strange user is refused" {
  run bootstrap --dry-run --user '"; rm -rf /'
  [ "$status" -ne 0 ]
  [[ "$output" == *"no name of a user"* ]]
}

@test "services do not run as root" {
  run bootstrap --dry-run --user root
  [ "$status" -ne 0 ]
  [[ "$output" == *"do not run as root"* ]]
}

@test "a dry run changes nothing and names the playbook" {
  rm -r "$TWIN_CACHE"
  run bootstrap --dry-run
  [ "$status" -eq 0 ]
  [[ "$output" == *"would run: $TWIN_PREFIX/bootstrap/bin/ansible-playbook"*"playbook.yaml"* ]]
  [ ! -e "$TWIN_CACHE" ]
  run grep -v '^dpkg-query\|^python\|^pip' "$CALLS"
  [ -z "$output" ]
}

@test "without root and without sudo it says how to become root" {
  need_root
  as_nobody :
  [ "$status" -ne 0 ]
  [[ "$output" == *"needs the program 'sudo'"*"su -"* ]]
}

@test "tags and verbosity reach Ansible" {
  run bootstrap --dry-run --tags models,ingress --verbose 2
  [[ "$output" == *"--tags models,ingress -vv "* ]]
}

@test "verbose without a number is three" {
  run bootstrap --dry-run --verbose --standalone
  [[ "$output" == *" -vvv "* ]]
  [[ "$output" == *"asked for by --standalone"* ]]
}

@test "verbose takes 0 to 4" {
  run bootstrap --verbose 7
  [ "$status" -ne 0 ]
  [[ "$output" == *"from 0 to 4"* ]]
}

@test "an external model server needs its address" {
  run bootstrap --dry-run --external-model-server </dev/null
  [ "$status" -ne 0 ]
  [[ "$output" == *"LLM_BASE_URL=http"* ]]
}

@test "an external model server's address is checked and handed on" {
  LLM_BASE_URL=ftp://x run bootstrap --dry-run --external-model-server
  [ "$status" -ne 0 ]
  LLM_BASE_URL=http://10.0.0.2:8080/v1 run bootstrap --dry-run --external-model-server
  [ "$status" -eq 0 ]
  [[ "$output" == *'"twin_llm_base_url": "http://10.0.0.2:8080/v1"'* ]]
}

@test "run-local reaches the role" {
  run bootstrap --dry-run --run-local
  [[ "$output" == *'"software_run_local": true'* ]]
}

@test "cleaning asks, and without a person does nothing" {
  record git
  run bootstrap --clean </dev/null
  [ "$status" -ne 0 ]
  [[ "$output" == *"Nobody can be asked"* ]]
  run ! grep -q -- '-fdx' "$CALLS"
}

@test "freeing disk space asks, and without a person does nothing" {
  need_root
  run bootstrap --system-cleanup </dev/null
  [ "$status" -ne 0 ]
  [[ "$output" == *"Nobody can be asked"* ]]
  run ! grep -q clean "$CALLS"
}

@test "watching needs a terminal" {
  run bootstrap --watch models </dev/null
  [ "$status" -ne 0 ]
  [[ "$output" == *"no terminal"* ]]
}

@test "a whole run ends with where to go, the mode and why, and how to stop" {
  need_root
  with_systemd
  run bootstrap
  [ "$status" -eq 0 ]
  [[ "$output" == *"http://localhost:8000"*":8443"* ]]
  [[ "$output" == *"standalone, because: no cluster software (Nomad) is at hand"* ]]
  [[ "$output" == *"Stop, start"* ]]
  [[ "$output" == *"scripts/uninstall"* ]]
}

@test "continue goes on after the last complete step" {
  need_root
  done_until software
  run bootstrap --continue
  [ "$status" -eq 0 ]
  run grep ansible-playbook "$CALLS"
  [[ "$output" == *"playbooks/models.yaml"*"playbooks/health.yaml"* ]]
  [[ "$output" != *"playbooks/software.yaml"* ]]
}

@test "a gap in the completed steps is not skipped" {
  need_root
  done_until preflight
  printf 'done models\n' >>"$TWIN_CACHE/bootstrap.state"
  run bootstrap --continue
  run grep ansible-playbook "$CALLS"
  [[ "$output" == *"playbooks/software.yaml"* ]]
}

@test "continue without a broken run does everything" {
  need_root
  run bootstrap --continue
  [ "$status" -eq 0 ]
  grep -q 'ansible-playbook .*playbook.yaml' "$CALLS"
}

@test "a complete run forgets its steps" {
  need_root
  printf 'done preflight\n' >"$TWIN_CACHE/bootstrap.state"
  run bootstrap --continue
  [ ! -e "$TWIN_CACHE/bootstrap.state" ]
}

told_command() { grep -o '\./bootstrap\.sh [^;.]*--continue' <<<"$1" | tail -n 1; } # told_command OUTPUT

@test "the command that a broken run tells goes on with its options" {
  need_root
  with_systemd
  local before
  before="$(tr '\n' ' ' <"$ROOT/inventory.yaml")"
  record ansible-playbook 2 "" "$TWIN_PREFIX/bootstrap/bin"
  LLM_BASE_URL=http://10.0.0.2:8080/v1 run bootstrap --standalone --user ada --tags models --external-model-server --verbose 2
  [ "$status" -ne 0 ]
  local told
  told="$(told_command "$output")"
  [ -n "$told" ]
  record ansible-playbook 0 "" "$TWIN_PREFIX/bootstrap/bin"
  : >"$CALLS"
  run sealed bash -c "cd '$ROOT' && $told" </dev/null
  [ "$status" -eq 0 ]
  [[ "$output" == *"Mode: standalone, because: asked for by --standalone"* ]]
  run grep ansible-playbook "$CALLS"
  [[ "$output" == *'"twin_user": "ada"'*'"twin_llm_base_url": "http://10.0.0.2:8080/v1"'*"--tags models -vv"* ]]
  [ ! -e "$TWIN_CACHE/bootstrap.options" ] # it is complete: the next --continue has no options but its own
  [ "$before" = "$(tr '\n' ' ' <"$ROOT/inventory.yaml")" ]
}

# Ctrl-C reaches the process group of a terminal; here it is timeout's, and a stand-in sends it once it runs.

@test "the command that an early Ctrl-C tells still makes a controller" {
  need_root
  with_systemd
  named den
  record dpkg-query 1
  printf 'done preflight\ndone software\n' >"$TWIN_CACHE/bootstrap.state" # of an earlier run, which this one is not
  # shellcheck disable=SC2016 # for the program that is written
  printf '#!%s\n[[ "$1" == install ]] || exit 0\nkill -INT 0\nsleep 4\n' "$(command -v bash)" >"$BIN/apt-get"
  run timeout 60 env PATH="$SEALED_PATH" "$ROOT/bootstrap.sh" --role controller --purge-jobs --user ada
  [[ "$output" == *"Interrupted during 'packages'"* ]]
  local told
  told="$(told_command "$output")"
  record apt-get
  : >"$CALLS"
  run sealed bash -c "cd '$ROOT' && $told" </dev/null
  [ "$status" -eq 0 ]
  [[ "$output" == *"Mode: cluster, because: asked for by --role controller"* ]]
  run grep ansible-playbook "$CALLS"
  [[ "${lines[0]}" == *"playbooks/purge_jobs.yaml"* ]]
  [[ "${lines[1]}" == *'"twin_mode": "cluster", "twin_user": "ada"'*" $ROOT/playbook.yaml" ]]
}

@test "jobs that were purged are not purged again, and no token is kept" {
  need_root
  with_systemd
  named den
  record ansible-playbook 2 "" "$TWIN_PREFIX/bootstrap/bin"
  run bash -c "source '$ROOT/bootstrap.sh'; dry_run=; keep_options --role controller --purge-jobs --token abc --token=abc --continue --clean"
  [ "$(tail -n +3 "$TWIN_CACHE/bootstrap.options")" = "$(printf '%s\n' --role controller --purge-jobs)" ]
  [ "$(stat -c %a "$TWIN_CACHE/bootstrap.options")" = 600 ]
  # shellcheck disable=SC2016 # for the program that is written
  printf '#!%s\n[[ "$*" == *purge_jobs.yaml* ]]\n' "$(command -v bash)" >"$TWIN_PREFIX/bootstrap/bin/ansible-playbook"
  run bootstrap --role controller --purge-jobs
  [ "$status" -ne 0 ]
  run ! grep -q purge "$TWIN_CACHE/bootstrap.options"
}

@test "a failed step says how to go on and keeps the completed ones" {
  need_root
  record ansible-playbook 2 "" "$TWIN_PREFIX/bootstrap/bin"
  printf 'done preflight\n' >"$TWIN_CACHE/bootstrap.state"
  run bootstrap --continue
  [ "$status" -ne 0 ]
  [[ "$output" == *"./bootstrap.sh --continue"* ]]
  grep -qx 'done preflight' "$TWIN_CACHE/bootstrap.state"
}

@test "an interruption says how to go on" {
  need_root
  printf '#!%s\nkill -INT 0\nexec sleep 30\n' "$(command -v bash)" >"$TWIN_PREFIX/bootstrap/bin/ansible-playbook"
  run timeout 60 env PATH="$SEALED_PATH" "$ROOT/bootstrap.sh"
  [[ "$output" == *"Interrupted during 'playbook'"*"./bootstrap.sh --continue"* ]]
}

@test "an interruption lets apt end what it began, and nothing else goes on" {
  need_root
  record dpkg-query 1
  # shellcheck disable=SC2016 # for the program that is written
  printf '#!%s\n[[ "$1" == install ]] || exit 0\nkill -INT 0\nsleep 4\necho ended >>"%s"\n' "$(command -v bash)" "$CALLS" >"$BIN/apt-get"
  run timeout 60 env PATH="$SEALED_PATH" "$ROOT/bootstrap.sh"
  [[ "$output" == *"Waiting until apt has ended"*"Interrupted during 'packages'"* ]]
  grep -qx ended "$CALLS"
  : >"$CALLS"
  # shellcheck disable=SC2016
  printf '#!%s\n[[ "$1" == update ]] || exit 0\nkill -INT 0\nsleep 4\necho ended >>"%s"\n' "$(command -v bash)" "$CALLS" >"$BIN/apt-get"
  run timeout 60 env PATH="$SEALED_PATH" "$ROOT/bootstrap.sh"
  [[ "$output" == *"Interrupted during 'packages'"* ]]
  sleep 6
  run ! grep -q ended "$CALLS"
}

@test "missing Debian packages are installed, present ones are left alone" {
  need_root
  record dpkg-query 1
  run bootstrap
  grep -q '^apt-get install -y --no-install-recommends python3 ' "$CALLS"
  : >"$CALLS"
  record dpkg-query 0 "install ok installed"
  run bootstrap
  run ! grep -q apt-get "$CALLS"
}

@test "a failed package installation shows the log's end" {
  need_root
  record dpkg-query 1
  record apt-get 100 "E: disk full"
  run bootstrap
  [ "$status" -ne 0 ]
  [[ "$output" == *"E: disk full"*"apt-get update' failed. All it said is in $TWIN_CACHE/bootstrap.log."* ]]
}

@test "pip's registry is handed on to uv" {
  run env PIP_INDEX_URL=http://registry.test/simple PATH="$SEALED_PATH" \
    bash -c "source '$ROOT/bootstrap.sh'; use_registry_of_pip; printenv UV_DEFAULT_INDEX"
  [ "$output" = http://registry.test/simple ]
}

@test "it is at most 300 lines" {
  [ "$(wc -l <"$ROOT/bootstrap.sh")" -le 300 ]
}
