#!/usr/bin/env bash
# The crash, fault and fuzz tests at the size of a release, in pieces that can be run on different days. `make soak` calls this.
#
#   soak.sh [PIECE] [SCALE]
#
# PIECE  one of the names below, or all (default)
# SCALE  soak: the counts of a release (default); ci: the small ones; N: N times the small ones
#
# FRESHET_TEST_SEED   repeats a run
# FRESHET_TEST_LOGS   where the logs go (default: soak-logs in the target folder)
#
# It ends with one line for each test that ran, made for the table in docs/soak.md.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
# shellcheck source=tests/services/lib.sh
. "$here/services/lib.sh"
cd "$root"

pieces=(kills accounts failpoints calls stops restart disk retry moments damage s3 kafka streams poison fuzz)

# tests_of PIECE: the tests, by the beginning of their names.
tests_of() {
  case "$1" in
    kills) echo crash::kills_at_random_moments ;;
    accounts) echo accounts::what_became_of_pushed_rows steps:: ;;
    failpoints) echo crash::a_kill_at_every_named_place crash::an_error_at_every_named_place crash::a_panic_at_every_named_place ;;
    calls) echo crash::a_kill_at_every_system_call crash::a_sync_that_fails ;;
    stops) echo crash::a_process_that_stood_still ;;
    restart) echo crash::a_table_that_is_replayed ;;
    disk) echo crash::a_full_disk ;;
    retry) echo faults::a_push_sent_again faults::a_key_is_one_body ;;
    moments) echo faults::sums_hold_at_every_moment ;;
    damage) echo faults::a_missing_file faults::a_changed_byte ;;
    s3) echo faults::a_deep_storage_that_fails ;;
    kafka) echo faults::a_broker_behind_a_bad_network faults::brokers_that_go ;;
    streams) echo streams::a_kill_while streams::an_error_or_a_panic streams::records_that_went streams::a_topic_that_was_made_again ;;
    poison) echo streams::bad_ ;;
    differential) echo differential::random_queries ;;
    fuzz) sed -n 's/^path = "targets\/\(.*\)\.rs"$/fuzz::\1/p' tests/fuzz/Cargo.toml ;;
    all) local piece; for piece in "${pieces[@]}"; do tests_of "$piece"; done ;;
    *) die "unknown piece $1; there are: ${pieces[*]} all" ;;
  esac
}

piece="${1:-all}"
scale="${2:-soak}"
read -r -a tests <<<"$(tests_of "$piece" | tr '\n' ' ')"
[ ${#tests[@]} -gt 0 ] || exit 2

target="${CARGO_TARGET_DIR:-$root/target}"
case "$target" in /*) ;; *) target="$root/$target" ;; esac
logs="${FRESHET_TEST_LOGS:-$target/soak-logs}"
mkdir -p "$logs"

if [ "$piece" != fuzz ]; then
  "$here/services/deps.sh"
  have strace || apt_install strace
  cargo build --workspace --locked --bins --tests
fi
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || commit="$commit, changed"

# fuzz_seconds: an hour of a release for each target; `make test` takes 5 s.
fuzz_seconds() {
  case "$scale" in
    soak) echo 3600 ;;
    ci) echo 5 ;;
    *) echo $((scale * 5)) ;;
  esac
}

# Each test alone: its log is its own, and one that fails does not stop the next. Nothing may be skipped here.
failed=0
rows=()
for test in "${tests[@]}"; do
  log="$logs/${test//::/-}-$(date -u +%Y%m%dT%H%M%SZ).log"
  start=$SECONDS
  result=passed
  say "== $test (log: $log)"
  if [[ $test == fuzz::* ]]; then
    tests/fuzz.sh "$(fuzz_seconds)" "${test#fuzz::}" 2>&1 | tee "$log" || result=FAILED
  else
    CI=true FRESHET_TEST_SCALE="$scale" FRESHET_TEST_BIN="${FRESHET_TEST_BIN:-$target/debug/freshet}" \
      cargo test --workspace --locked --test all -- --nocapture --test-threads 1 --include-ignored "$test" 2>&1 |
      tee "$log" || result=FAILED
    # A filter that finds nothing passes, and proves nothing.
    if ! grep -q "^test result: .* [1-9][0-9]* passed" "$log" && [ "$result" = passed ]; then result="FAILED: no such test"; fi
  fi
  if [ "$result" != passed ]; then failed=$((failed + 1)); fi
  counts=$(sed -n 's/^\(test [^ ]* [.]* \)\{0,1\}\([A-Za-z0-9, -]*\): \([0-9]*\) (release: .*/\3 \2/p' "$log" | paste -sd ',' | sed 's/,/, /g')
  seed=$(sed -n 's/.*FRESHET_TEST_SEED=\([0-9]*\).*/\1/p' "$log" | paste -sd ' ')
  rows+=("| $(date -u +%F) | $commit | \`$test\` | ${counts:-1} | ${seed:--} | $((SECONDS - start)) s | $result |")
done
printf '%s\n' "| date | commit | test | counts | seed | time | result |" "|---|---|---|---|---|---|---|" "${rows[@]}"
[ "$failed" = 0 ]
