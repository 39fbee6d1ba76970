#!/usr/bin/env bats
# What scripts/test and scripts/lint say without running anything.

setup() { ROOT="$(cd "$BATS_TEST_DIRNAME/../.." && pwd)"; }

@test "test: help names every verb of the whole" {
  run "$ROOT/scripts/test" --help
  [ "$status" -eq 0 ]
  for verb in check unit web bats integration voice fresh cluster-smoke e2e old-cpu hosts cluster-life molecule bench; do
    [[ "$output" == *"  $verb "* ]]
  done
}

@test "test: a thing that nobody can make lists what can be made" {
  # shellcheck disable=SC2329,SC1091 # prepare calls it
  run bash -c "source '$ROOT/scripts/test'; need_python() { :; }; prepare frob"
  [ "$status" -eq 1 ]
  [[ "$output" == *"unknown thing 'frob'"*binaries*cluster-disks* ]]
}

@test "test: an unknown verb lists the known ones" {
  run "$ROOT/scripts/test" frob
  [ "$status" -eq 1 ]
  [[ "$output" == *"unknown verb 'frob'"*full*unit*hosts* ]]
}

@test "test: a verb that is not there yet stops with a sentence" {
  run "$ROOT/scripts/test" netboot
  [ "$status" -eq 1 ]
  [[ "$output" == *"'netboot' tests the role pxe_server"* ]]
}

@test "lint: an unknown linter lists the known ones" {
  run "$ROOT/scripts/lint" frob
  [ "$status" -eq 1 ]
  [[ "$output" == *"unknown linter 'frob'"*ruff*javascript* ]]
}

@test "check: an argument it does not know is refused" {
  run "$ROOT/scripts/check" frob
  [ "$status" -eq 1 ]
  [[ "$output" == *"unknown argument 'frob'"* ]]
}
