#!/usr/bin/env bats
# What bootstrap.sh makes of a stranger's shell and machine: its environment, its Python, its packages.

bats_require_minimum_version 1.5.0

setup() {
  load sealed
  seal
  seal_bootstrap
}

teardown() { if [[ -n "${OPEN:-}" ]]; then rm -rf "$OPEN"; fi; }
need_root() { [ "$EUID" -eq 0 ] || skip "needs root"; }
in_bootstrap() { # in_bootstrap COMMAND [VARIABLE=VALUE...]: COMMAND among the functions of bootstrap.sh
  local command="$1"
  shift
  run env -i TWIN_PATH="$BIN" TWIN_PREFIX="$TWIN_PREFIX" TWIN_CACHE="$TWIN_CACHE" PATH="$BIN" "$@" \
    bash -c "source '$ROOT/bootstrap.sh'; $command"
}
open_folder() { # a folder that other users get to, for bats' own is closed to them; it has the real setpriv
  OPEN="$(mktemp -d /tmp/sealed.XXXXXX)"
  chmod 755 "$OPEN"
  ln -sf "$(command -v setpriv)" "$BIN/setpriv"
}
plant() { # plant FOLDER NAME [VERSION]: a program that is asked for its version like a Python
  mkdir -p "$1"
  printf '#!/bin/sh\necho "%s"\n' "${3:-3.12}" >"$1/$2"
  chmod 755 "$1/$2"
}

@test "of the shell's environment only what is on the list stays" {
  in_bootstrap printenv \
    PIP_INDEX_URL=http://registry.test/simple UV_INDEX_HOUSE_PASSWORD=secret https_proxy=http://10.0.0.9:3128 TERM=dumb \
    GOPROXY=http://go.test SSL_CERT_DIR=/certs LLM_BASE_URL=http://x/v1 \
    PIP_TARGET=/x PIP_PREFIX=/x PIP_USER=1 PIP_REQUIRE_VIRTUALENV=1 UV_PYTHON=3.8 UV_SYSTEM_PYTHON=1 UV_PROJECT_ENVIRONMENT=/x \
    UV_CACHE_DIR=/x PYTHONPATH=/x PYTHONHOME=/x VIRTUAL_ENV=/x CONDA_PREFIX=/x LD_LIBRARY_PATH=/x TMPDIR=/x LANGUAGE=xx \
    LC_ALL=xx_XX.UTF-8 TWIN_DATA_DIR=/x ANSIBLE_ROLES_PATH=/x ANSIBLE_STDOUT_CALLBACK=json GREP_OPTIONS=-v user=x BASH_ENV=/dev/null \
    ANSIBLE_VAULT_PASSWORD_FILE=/vault SSH_AUTH_SOCK=/agent
  [ "$status" -eq 0 ]
  for kept in PIP_INDEX_URL=http://registry.test/simple UV_INDEX_HOUSE_PASSWORD=secret https_proxy=http://10.0.0.9:3128 \
    GOPROXY=http://go.test SSL_CERT_DIR=/certs LLM_BASE_URL=http://x/v1 ANSIBLE_VAULT_PASSWORD_FILE=/vault SSH_AUTH_SOCK=/agent \
    LC_ALL=C.UTF-8 LANG=C.UTF-8 "PATH=$BIN" TERM=dumb; do
    grep -qxF -- "$kept" <<<"$output" || { printf 'gone: %s\n' "$kept"; false; }
  done
  run ! grep -E '=(/x|x|1|3.8|xx.*|json|-v)$' <<<"$output"
}

@test "exported functions, CDPATH and POSIX mode of the shell are nothing to it" {
  mkdir -p "$BATS_TEST_TMPDIR/elsewhere"
  # shellcheck disable=SC2016,SC2030,SC2031 # expanded where it runs
  run env PATH="$BIN" POSIXLY_CORRECT=1 CDPATH="$ROOT/.." bash --norc -c '
    grep() { echo planted; }
    cd() { echo planted; }
    export -f grep cd
    builtin cd "$ROOT/.." && exec bash "${ROOT##*/}/bootstrap.sh" --dry-run'
  [ "$status" -eq 0 ]
  [[ "$output" == *"$ROOT/playbook.yaml"* ]]
  [[ "$output" != *planted* ]]
}

@test "what is left out is said" {
  PIP_TARGET=/x PYTHONPATH=/y EDITOR=vi run bootstrap --dry-run
  [[ "$output" == *"of your shell's environment these are not used: "*PIP_TARGET* ]]
  [[ "$output" == *PYTHONPATH* ]]
  [[ "$output" != *EDITOR* ]]
}

@test "no proxy is asked for this machine's own addresses" {
  in_bootstrap 'printenv no_proxy NO_PROXY' http_proxy=http://10.0.0.9:3128 no_proxy=intranet
  [ "${lines[0]}" = "intranet,localhost,127.0.0.1,::1" ]
  [ "${lines[1]}" = "${lines[0]}" ]
  in_bootstrap 'printenv no_proxy' # without a proxy there is nothing to spare
  [ "$status" -ne 0 ]
}

@test "HOME is by the list of users, whatever sudo has kept" {
  in_bootstrap 'printenv HOME' HOME=/nonexistent
  [ "$output" = "$(unset HOME && echo ~)" ]
}

@test "a HOME that cannot be written, and a folder for temporary files where nothing runs, are replaced" {
  need_root
  # shellcheck disable=SC2016
  in_bootstrap 'can_use() { [[ "$1" == /elsewhere ]]; }; HOME=/gone prepare_environment; printenv HOME TMPDIR'
  [[ "$output" == *"nothing can be written in /gone"* ]]
  [[ "$output" == *"$TWIN_CACHE/home"*"$TWIN_CACHE/tmp" ]]
  [ "$(stat -c %a "$TWIN_CACHE/tmp")" = 1777 ]
}

@test "a folder whose programs do not run is told from one that will do" {
  need_root
  mkdir "$BATS_TEST_TMPDIR/mount"
  mount -t tmpfs -o noexec tmpfs "$BATS_TEST_TMPDIR/mount" || skip "may not mount"
  in_bootstrap "can_use '$BATS_TEST_TMPDIR/mount' && ! can_use '$BATS_TEST_TMPDIR/mount' runs && can_use '$BATS_TEST_TMPDIR' runs"
  umount "$BATS_TEST_TMPDIR/mount"
  [ "$status" -eq 0 ]
  run find "$BATS_TEST_TMPDIR" -maxdepth 1 -name '.twin.*'
  [ -z "$output" ]
}

@test "an authority's certificate in somebody's home is copied to where services read it; one that is gone is left out" {
  need_root
  open_folder
  mkdir -m 700 "$OPEN/home"
  printf 'certificate\n' >"$OPEN/home/ca.pem"
  in_bootstrap 'prepare_environment; printenv SSL_CERT_FILE; printenv PIP_CERT' SSL_CERT_FILE="$OPEN/home/ca.pem" PIP_CERT=/gone.pem
  [[ "$output" == *"PIP_CERT names /gone.pem, which cannot be read"*"$TWIN_CACHE/authorities/SSL_CERT_FILE.pem"* ]]
  [ "$status" -ne 0 ] # PIP_CERT is gone
  [ "$(<"$TWIN_CACHE/authorities/SSL_CERT_FILE.pem")" = certificate ]
  [ "$(stat -c %a "$TWIN_CACHE/authorities/SSL_CERT_FILE.pem")" = 644 ]
}

@test "of pip's files the registries are used, and nothing of where to install" {
  record pip 0 "global.index-url='http://registry.test/simple'
install.extra-index-url='http://a.test http://b.test'
global.target='/x'
install.user='true'
:env:.timeout='9'
" "$TWIN_PREFIX/bootstrap/bin"
  in_bootstrap 'use_registry_of_pip; printenv | grep -E "^(PIP|UV)_" | sort' PIP_TIMEOUT=9
  [ "$output" = "PIP_CONFIG_FILE=/dev/null
PIP_EXTRA_INDEX_URL=http://a.test http://b.test
PIP_INDEX_URL=http://registry.test/simple
PIP_TIMEOUT=9
UV_DEFAULT_INDEX=http://registry.test/simple" ]
}

@test "the Python is one that services can run and that is new enough, the system's before others" {
  need_root
  open_folder
  plant "$OPEN/old" python3 3.9
  plant "$OPEN/closed" python3
  chmod 700 "$OPEN/closed"
  plant "$OPEN/good" python3.13 3.13
  plant "$OPEN/good" python3.12 3.12
  # shellcheck disable=SC2016
  in_bootstrap 'choose_python; echo "$python"; echo "$python_faults"' TWIN_PATH="$OPEN/old:$OPEN/closed:$OPEN/good:$BIN"
  [ "${lines[0]}" = "$OPEN/good/python3.13" ]
  [ "${lines[1]}" = "$OPEN/old/python3 is Python 3.9; $OPEN/closed/python3 cannot be run by the services' user: the folder $OPEN/closed is closed to others" ]
}

@test "without a Python that will do it says which there are and what to install" {
  rm "$BIN/python3"
  plant "$BIN" python3 3.9
  run bootstrap --dry-run
  [ "$status" -eq 0 ] # it would be installed
  need_root
  run bootstrap
  [ "$status" -ne 0 ]
  [[ "$output" == *"Python 3.11 or newer"*"apt-get install python3 python3-venv"*"python3 is Python 3.9"* ]]
}

@test "an environment is made anew whose interpreter is closed, gone, another one or of another version" {
  need_root
  open_folder
  plant "$OPEN/private" python3 3.12
  plant "$OPEN/bin" python3 3.12
  mkdir -p "$OPEN/environment/bin"
  printf 'version = 3.12.1\n' >"$OPEN/environment/pyvenv.cfg"
  faults() { # faults INTERPRETER: what is said about an environment on it
    ln -sf "$1" "$OPEN/environment/bin/python"
    run env PATH="$BIN" TWIN_PATH="$OPEN/bin" PATH="$BIN:$PATH" "$ROOT/initial-setup/bootstrap/python.sh" nobody "$OPEN/environment" "$OPEN/none"
    [ "$status" -eq 0 ]
    [ "${lines[0]}" = "$OPEN/bin/python3" ]
  }
  faults "$OPEN/bin/python3"
  [ "${#lines[@]}" -eq 1 ]
  chmod 700 "$OPEN/private"
  faults "$OPEN/private/python3"
  [ "${lines[1]}" = "$OPEN/environment: the services' user cannot run its interpreter, $OPEN/private/python3: the folder $OPEN/private is closed to others" ]
  chmod 755 "$OPEN/private"
  chmod 700 "$OPEN/environment"
  faults "$OPEN/bin/python3"
  [ "${lines[1]}" = "$OPEN/environment: the services' user does not get to it: the folder $OPEN/environment is closed to others" ]
  chmod 755 "$OPEN/environment"
  faults "$OPEN/private/python3"
  [ "${lines[1]}" = "$OPEN/environment: its interpreter is $OPEN/private/python3 and not $OPEN/bin/python3" ]
  faults "$OPEN/gone/python3"
  [ "${lines[1]}" = "$OPEN/environment: its interpreter, $OPEN/gone/python3, is gone" ]
  printf 'version = 3.11.2\n' >"$OPEN/environment/pyvenv.cfg"
  faults "$OPEN/bin/python3"
  [ "${lines[1]}" = "$OPEN/environment: it was made with Python 3.11, and $OPEN/bin/python3 is 3.12" ]
}

@test "a run makes such an environment anew and says why; the next one leaves it" {
  need_root
  printf 'version = 3.9.2\n' >"$TWIN_PREFIX/bootstrap/pyvenv.cfg"
  run bootstrap
  [[ "$output" == *"installing into $TWIN_PREFIX/bootstrap anew, because it was made with Python 3.9, and $BIN/python3 is 3.11"* ]]
  [[ "$output" == *"Python: $BIN/python3, because it is the system's own, and the services' user can run it"* ]]
  grep -qx "python3 -m venv --clear $TWIN_PREFIX/bootstrap" "$CALLS"
  printf 'version = 3.11.2\n' >"$TWIN_PREFIX/bootstrap/pyvenv.cfg" # the recorder makes none
  : >"$CALLS"
  run bootstrap
  [[ "$output" == *"Ansible: in order"* ]]
  run ! grep -q -- '-m venv' "$CALLS"
}

@test "an environment that others cannot get to is told by the folder that is closed" {
  need_root
  open_folder
  plant "$OPEN/bin" python3
  mkdir -m 700 "$OPEN/opt"
  mkdir -p "$OPEN/opt/bootstrap/bin"
  ln -s "$OPEN/bin/python3" "$OPEN/opt/bootstrap/bin/python"
  in_bootstrap 'install_ansible' TWIN_PATH="$OPEN/bin:$BIN" TWIN_PREFIX="$OPEN/opt"
  [ "$status" -ne 0 ]
  [[ "$output" == *"cannot run $OPEN/opt/bootstrap/bin/python, because the folder $OPEN/opt is closed to others. Open it (chmod o+x FOLDER)"* ]]
}

@test "another program's lock on packages is waited for, and told once" {
  need_root
  record dpkg-query 1
  record sleep
  # shellcheck disable=SC2016 # for the program that is written
  printf '#!%s\necho "$*" >>"%s"\n(($(grep -c "^$1" "%s") > 3)) || { echo "E: Could not get lock /var/lib/x. It is held by process 7 (apt)"; exit 100; }\n' \
    "$(command -v bash)" "$CALLS" "$CALLS" >"$BIN/apt-get"
  run bootstrap
  [ "$status" -eq 0 ]
  [ "$(grep -c '^update' "$CALLS")" -eq 4 ]
  [ "$(grep -c '^install' "$CALLS")" -eq 4 ]
  [ "$(grep -c "Waiting for another program that is installing packages (Could not get lock /var/lib/x. It is held by process 7 (apt))" <<<"$output")" -eq 2 ]
}

@test "a lock that is never given back ends in a sentence" {
  record apt-get 100 "E: Could not get lock /var/lib/x. It is held by process 7 (apt)"
  in_bootstrap 'APT_PATIENCE_S=0; patiently apt-get update'
  [ "$status" -ne 0 ]
  [[ "$output" == *"another program has been installing packages for 0 seconds"*"process 7"*"run this again."* ]]
}

@test "a dpkg that was interrupted is gone on with first" {
  need_root
  record dpkg
  # shellcheck disable=SC2016 # for the program that is written
  printf '#!%s\nif grep -q configure "%s"; then echo "installed ok installed"; else echo "half-configured haproxy"; fi\n' \
    "$(command -v bash)" "$CALLS" >"$BIN/dpkg-query"
  run bootstrap
  [[ "$output" == *"going on where dpkg was interrupted, with haproxy"* ]]
  [ "$(grep -E '^(dpkg|apt-get) ' "$CALLS")" = "dpkg --force-confold --configure -a" ]
}

@test "what dpkg cannot go on with, apt mends" {
  need_root
  record dpkg 1
  # shellcheck disable=SC2016 # for the program that is written
  printf '#!%s\nif grep -q fix-broken "%s"; then echo "installed ok installed"; else echo "half-installed haproxy"; fi\n' \
    "$(command -v bash)" "$CALLS" >"$BIN/dpkg-query"
  run bootstrap
  grep -qx 'apt-get install -y --fix-broken --no-install-recommends' "$CALLS"
}

@test "a program that failed is told with what its words mean and what to do" {
  local words sentence
  while IFS='|' read -r words sentence; do
    record apt-get 100 "$words"
    in_bootstrap 'quietly apt-get update'
    [ "$status" -ne 0 ]
    [[ "$output" == *"$words"*"bootstrap: 'apt-get update' failed. "*"$sentence"*"All it said is in "* ]] || { printf '%s\n' "$words"; false; }
  done <<'TEXT'
E: Write error - write (28: No space left on device)|A disk is full: df -h
E: The repository 'http://x trixie Release' is not signed.|is not signed as apt wants it
Err:1 http://mirror.test Temporary failure resolving 'mirror.test'|A name could not be looked up
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.|not what the lock file names
SSLError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] unable to get local issuer')|certificate is not believed
E: Unable to fetch some archives, maybe run apt-get update|A registry could not be reached
E: It rains.|
TEXT
}
