#!/usr/bin/env bats
# What scripts/test and scripts/lint say without running anything.

setup() { ROOT="$(cd "$BATS_TEST_DIRNAME/../.." && pwd)"; }

@test "test: help names every verb of the whole" {
  run "$ROOT/scripts/test" --help
  [ "$status" -eq 0 ]
  for verb in check unit web bats integration e2e old-cpu hosts cluster bench; do
    [[ "$output" == *"  $verb "* ]]
  done
}

@test "test: an unknown verb lists the known ones" {
  run "$ROOT/scripts/test" frob
  [ "$status" -eq 1 ]
  [[ "$output" == *"unknown verb 'frob'"*unit*hosts* ]]
}

@test "test: verbs that are not there yet stop with a sentence" {
  for verb in molecule netboot; do
    run "$ROOT/scripts/test" "$verb"
    [ "$status" -eq 1 ]
    [[ "$output" == *"'$verb' tests the cluster's roles"* ]]
  done
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
