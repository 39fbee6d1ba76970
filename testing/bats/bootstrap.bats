#!/usr/bin/env bats
# What bootstrap.sh says, refuses, resumes and hands on, with every outside program replaced by a recorder.

bats_require_minimum_version 1.5.0

setup() {
  load sealed
  seal
  unset LLM_BASE_URL
  export TWIN_PREFIX="$BATS_TEST_TMPDIR/opt" TWIN_CACHE="$BATS_TEST_TMPDIR/cache"
  mkdir -p "$TWIN_PREFIX/bootstrap/bin" "$TWIN_CACHE"
  for name in apt-get ip; do record "$name"; done
  record dpkg-query 0 "install ok installed"
  for name in python pip ansible-playbook; do record "$name" 0 "" "$TWIN_PREFIX/bootstrap/bin"; done
  cp "$ROOT/requirements-bootstrap.txt" "$TWIN_PREFIX/bootstrap/requirements.txt"
}

bootstrap() { sealed "$ROOT/bootstrap.sh" "$@"; }
need_root() { [ "$EUID" -eq 0 ] || skip "needs root"; }

@test "help names every flag" {
  run bootstrap --help
  [ "$status" -eq 0 ]
  for flag in standalone role user tags external-model-server run-local benchmark continue watch dry-run \
    verbose debug clean system-cleanup help; do
    [[ "$output" == *"--$flag"* ]]
  done
}

@test "an unknown flag stops with a sentence" {
  run bootstrap --frobnicate
  [ "$status" -ne 0 ]
  [[ "$output" == *"unknown option '--frobnicate'"* ]]
}

@test "flags of the cluster stop with a sentence" {
  for flag in --controller-ip --purge-jobs --leave-services-running --deploy-docker --container \
    --home-assistant-debug "--role worker" "--role controller"; do
    # shellcheck disable=SC2086 # two words
    run bootstrap $flag
    [ "$status" -ne 0 ]
    [[ "$output" == *"$flag"*"the cluster is not there yet"* ]]
  done
}

@test "a role that does not exist lists the one that does" {
  run bootstrap --role king
  [ "$status" -ne 0 ]
  [[ "$output" == *"known: all"* ]]
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
  local open
  open="$(mktemp -d /tmp/sealed.XXXXXX)" # bats' own folder cannot be read by another user
  cp "$ROOT/bootstrap.sh" "$open"
  ln -s "$(command -v dirname)" "$(command -v bash)" "$open"
  chmod 755 "$open"
  run setpriv --reuid=65534 --clear-groups env PATH="$open" bash -c "source '$open/bootstrap.sh'; become_root"
  rm -r "$open"
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
  run bootstrap
  [ "$status" -eq 0 ]
  [[ "$output" == *"http://localhost:8000"*":8443"* ]]
  [[ "$output" == *"standalone, because: no cluster software (Nomad) is at hand"* ]]
  [[ "$output" == *"Stop, start"* ]]
  [[ "$output" == *"scripts/uninstall"* ]]
}

@test "continue goes on after the last complete step" {
  need_root
  printf 'done preflight\ndone software\n' >"$TWIN_CACHE/bootstrap.state"
  run bootstrap --continue
  [ "$status" -eq 0 ]
  run grep ansible-playbook "$CALLS"
  [[ "$output" == *"playbooks/models.yaml"*"playbooks/health.yaml"* ]]
  [[ "$output" != *"playbooks/software.yaml"* ]]
}

@test "a gap in the completed steps is not skipped" {
  need_root
  printf 'done preflight\ndone models\n' >"$TWIN_CACHE/bootstrap.state"
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
  printf '#!%s\nexec sleep 30\n' "$(command -v bash)" >"$TWIN_PREFIX/bootstrap/bin/ansible-playbook"
  run timeout --signal=INT 2 env PATH="$SEALED_PATH" "$ROOT/bootstrap.sh"
  [[ "$output" == *"Interrupted during 'playbook'"*"./bootstrap.sh --continue"* ]]
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
  [[ "$output" == *"E: disk full"*"apt-get update' failed"* ]]
}

@test "pip's registry is handed on to uv" {
  run env PIP_INDEX_URL=http://registry.test/simple PATH="$SEALED_PATH" \
    bash -c "source '$ROOT/bootstrap.sh'; use_registry_of_pip; printenv UV_DEFAULT_INDEX"
  [ "$output" = http://registry.test/simple ]
}

@test "it is at most 300 lines" {
  [ "$(wc -l <"$ROOT/bootstrap.sh")" -le 300 ]
}
