#!/usr/bin/env bash
# Coverage-guided tests of everything that reads bytes (tests/fuzz): builds the targets with libFuzzer's counters in them, on the
# stable compiler, and runs each for a while. Fails on any crash, hang, or memory beyond the bound.
#
#   fuzz.sh [SECONDS] [TARGET..]    each target for SECONDS (60); all of them unless some are named
#   fuzz.sh again TARGET FILE..     runs inputs once each: a crash is repeated with what it says
#   fuzz.sh seeds                   writes the committed corpus anew, from valid things
#
# FRESHET_TEST_SEED     begins libFuzzer's random numbers; printed, another one for each run unless it is given
# FRESHET_FUZZ_CORPUS   where inputs that reach something new are kept for the next run (default: corpus in the build folder)
#
# What fails is written to crashes/ in the build folder, which is fuzz/ in the target folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
# shellcheck source=tests/services/lib.sh
. "$here/services/lib.sh"
cd "$root"

target="${CARGO_TARGET_DIR:-$root/target}"
case "$target" in /*) ;; *) target="$root/$target" ;; esac
build="$target/fuzz"
kept="${FRESHET_FUZZ_CORPUS:-$build/corpus}"
crashes="$build/crashes"
seed="${FRESHET_TEST_SEED:-$((RANDOM * 32768 + RANDOM + 1))}"

# Ours and the readers they stand on take a fraction of this; the rest is libFuzzer's. Each allocation is bounded besides, by the
# size of the input (tests/fuzz/src/memory.rs).
rss_mb=512
# An input may take a second of a release build. This build is optimised a little, counts every branch, and shares its cores.
timeout_s=10
# The Parquet library passes over an unknown list of flags one by one, as many as it claims to have: some seconds for a forged file
# whose checksums match. That is its own to mend; a loop without an end would still be found.
timeout_of() { if [ "$1" = sealed_parquet ]; then echo 120; else echo "$timeout_s"; fi; }

all_targets() { sed -n 's/^path = "targets\/\(.*\)\.rs"$/\1/p' tests/fuzz/Cargo.toml; }

build_targets() {
  "$here/services/deps.sh"
  have g++ || apt_install g++
  CARGO_TARGET_DIR="$build" RUSTC_WRAPPER="$here/fuzz/rustc.sh" \
    cargo build --manifest-path tests/fuzz/Cargo.toml --locked --bins
}

bin() { echo "$build/debug/$1"; }

case "${1:-}" in
  again)
    [ $# -ge 3 ] || die "fuzz.sh again TARGET FILE.."
    build_targets
    name=$2
    shift 2
    exec "$(bin "$name")" -rss_limit_mb="$rss_mb" -timeout="$(timeout_of "$name")" "$@"
    ;;
  seeds)
    build_targets
    for name in $(all_targets); do FRESHET_FUZZ_SEEDS="tests/fuzz/corpus/$name" "$(bin "$name")"; done
    exit 0
    ;;
esac

seconds="${1:-60}"
case "$seconds" in *[!0-9]* | "") die "fuzz.sh [SECONDS] [TARGET..]: \`$seconds\` is no number of seconds" ;; esac
if [ $# -gt 0 ]; then shift; fi
names=("$@")
if [ ${#names[@]} = 0 ]; then read -r -a names <<<"$(all_targets | tr '\n' ' ')"; fi
for name in "${names[@]}"; do
  all_targets | grep -qx "$name" || die "there is no target $name; there are: $(all_targets | tr '\n' ' ')"
done
build_targets
mkdir -p "$crashes"
say "FRESHET_TEST_SEED=$seed"

# stat LOG NAME: a figure of libFuzzer's closing statistics.
stat() { sed -n "s/^stat::$2: *//p" "$1" | tail -n 1; }
# reached LOG WHEN: `cov ft` of the first line of that sort.
reached() { sed -n "s/^#[0-9]*[[:space:]]*$2 *cov: \([0-9]*\) ft: \([0-9]*\) .*/\1 \2/p" "$1" | tail -n 1; }

passed=0
failed=0
for name in "${names[@]}"; do
  log="$crashes/$name.log"
  mkdir -p "$kept/$name"
  dictionary=()
  if [ -f "tests/fuzz/dictionaries/$name.txt" ]; then dictionary=("-dict=tests/fuzz/dictionaries/$name.txt"); fi
  result=passed
  "$(bin "$name")" -max_total_time="$seconds" -rss_limit_mb="$rss_mb" -timeout="$(timeout_of "$name")" -max_len=16384 \
    -seed="$seed" -print_final_stats=1 -artifact_prefix="$crashes/$name-" "${dictionary[@]}" \
    "$kept/$name" "tests/fuzz/corpus/$name" >"$log" 2>&1 || result=FAILED
  read -r cov_first ft_first <<<"$(reached "$log" INITED)"
  read -r cov_last ft_last <<<"$(reached "$log" DONE)"
  runs=$(stat "$log" number_of_executed_units)
  # Without counters libFuzzer runs all the same, blindly, and finds nothing.
  if [ "$result" = passed ] && [ "${ft_last:-0}" -lt 200 ]; then
    result="FAILED: only ${ft_last:-0} features are seen, so the counters are not in the build"
  fi
  if [ "$result" = passed ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  say "fuzz $name: ${runs:-?} executions, cov ${cov_first:-?} to ${cov_last:-?}, ft ${ft_first:-?} to ${ft_last:-?}, $(stat "$log" peak_rss_mb) MB, $seconds s: $result"
  echo "executions: ${runs:-0} (release: as many as an hour gives)"
  if [ "$result" != passed ]; then
    grep -v '^#[0-9]' "$log" | tail -n 25 >&2
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    if [ -n "$input" ]; then say "repeat it with: tests/fuzz.sh again $name $input"; fi
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
