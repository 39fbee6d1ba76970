#!/usr/bin/env bats
# What scripts/uninstall asks and refuses. Removing for real is tested on a fresh machine (testing/hosts).

setup() {
  load sealed
  seal
}

@test "help names every flag" {
  run sealed "$ROOT/scripts/uninstall" --help
  [ "$status" -eq 0 ]
  for flag in --yes --purge-data --dry-run; do [[ "$output" == *"$flag"* ]]; done
}

@test "an unknown flag stops and lists the known ones" {
  run sealed "$ROOT/scripts/uninstall" --all
  [ "$status" -ne 0 ]
  [[ "$output" == *"unknown option '--all'; known: --yes --purge-data --dry-run"* ]]
}

@test "nobody to ask means nothing is removed" {
  run bash -c "source '$ROOT/scripts/uninstall'; ask 'Remove Twin?' yes </dev/null"
  [ "$status" -ne 0 ]
  [[ "$output" == *"Nobody can be asked"* ]]
}

@test "a dry run only says what it would do" {
  run bash -c "source '$ROOT/scripts/uninstall'; dry_run=yes; run rm -rf /opt/twin"
  [ "$status" -eq 0 ]
  [ "$output" = "  would run: rm -rf /opt/twin" ]
}

@test "the jobs that go are those that are shipped" {
  run bash -c "source '$ROOT/scripts/uninstall'; job_files"
  [ "$status" -eq 0 ]
  for file in "$ROOT"/ansible/jobs/*.nomad.hcl; do [[ "$output" == *"${file##*/}"* ]]; done
  [[ "$output" == *$'\nbenchmark.nomad\n'* ]]
}
