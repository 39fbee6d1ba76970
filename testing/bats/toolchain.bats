#!/usr/bin/env bats
# Which packages are missing, what is pinned, and that half-made folders are made again.
# shellcheck disable=SC2016 # the body of a fake is expanded when the fake runs

setup() {
  ROOT="$(cd "$BATS_TEST_DIRNAME/../.." && pwd)"
  export ROOT STEP_LOGS="$BATS_TEST_TMPDIR/logs" TWIN_CACHE_DIR="$BATS_TEST_TMPDIR/cache"
  # shellcheck source=scripts/lib/steps.sh
  source "$ROOT/scripts/lib/steps.sh"
  # shellcheck source=scripts/lib/toolchain.sh
  source "$ROOT/scripts/lib/toolchain.sh"
  mkdir -p "$BATS_TEST_TMPDIR/bin"
}

fake() { # fake NAME BODY: a program that comes first on PATH
  printf '#!/bin/sh\n%s\n' "$2" >"$BATS_TEST_TMPDIR/bin/$1"
  chmod +x "$BATS_TEST_TMPDIR/bin/$1"
  PATH="$BATS_TEST_TMPDIR/bin:$PATH"
}

@test "a program that is there asks for no package" {
  run missing_packages sh:dash
  [ -z "$output" ]
}

@test "a program that is not there asks for its package" {
  run missing_packages sh:dash no-such-program:its-package
  [ "$output" = its-package ]
}

@test "packages are updated once and installed together" {
  fake apt-get 'echo "$@" >>"$BATS_TEST_TMPDIR/apt.txt"'
  fake sudo 'shift; exec "$@"'
  run ensure_packages no-such-a:package-a no-such-b:package-b
  [ "$status" -eq 0 ]
  [ "$(grep -c update "$BATS_TEST_TMPDIR/apt.txt")" -eq 1 ]
  [[ "$(tail -n 1 "$BATS_TEST_TMPDIR/apt.txt")" == *"package-a package-b" ]]
}

@test "a package that cannot be had fails the step" {
  fake apt-get 'case "$*" in *install*) echo "E: no such package" >&2; exit 100 ;; esac'
  fake sudo 'shift; exec "$@"'
  run ensure_packages no-such-a:package-a
  [ "$status" -ne 0 ]
  [[ "$output" == *"E: no such package"* ]]
}

@test "uv is pinned with its hashes and nothing else is" {
  run locked_uv
  [[ "${lines[0]}" == uv==* ]]
  [[ "$output" == *--hash=sha256:* ]]
  [ "$(grep -c == <<<"$output")" -eq 1 ]
}

@test "an environment without its stamp is not complete" {
  fake uv 'exit 1'
  mkdir -p "$TWIN_CACHE_DIR/venv"
  run make_venv "$BATS_TEST_TMPDIR/bin/uv" "$TWIN_CACHE_DIR/venv"
  [ "$status" -ne 0 ]
  [ ! -e "$TWIN_CACHE_DIR/venv/.complete" ]
}

@test "an old Python is refused by name" {
  fake python2.9 'case "$1" in --version) echo "Python 2.9" ;; *) exit 1 ;; esac'
  TWIN_PYTHON="$BATS_TEST_TMPDIR/bin/python2.9"
  run ensure_venv
  [ "$status" -eq 1 ]
  [[ "$output" == *"3.11 or newer"*"Python 2.9"*TWIN_PYTHON* ]]
}

@test "the Go tool that the supply names comes first on PATH" {
  # shellcheck disable=SC2329 # ensure_go calls it
  twin() { [ "$*" = "artifacts go-path" ] && printf '%s\n' "$BATS_TEST_TMPDIR/chain/go/bin/go"; }
  ensure_go
  [[ "$PATH" == "$BATS_TEST_TMPDIR/chain/go/bin:"* ]]
}

@test "without a Go tool the step fails and says so" {
  # shellcheck disable=SC2329 # ensure_go calls it
  twin() { echo "building needs Go" >&2; return 1; }
  run ensure_go
  [ "$status" -ne 0 ]
  [[ "$output" == *"building needs Go"*"none can be had"* ]]
}

@test "a cluster gets its programs, and those that it is upgraded from only when they are asked for" {
  twin() { printf 'asked: %s\n' "$*" >&2; return 1; }
  run ensure_cluster_binaries
  [[ "$output" == *"asked: artifacts fetch nomad consul"$'\n'* ]]
  run ensure_older_binaries
  [[ "$output" == *"asked: artifacts fetch nomad@"*" consul@"* ]]
}
