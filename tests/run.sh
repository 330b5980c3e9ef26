#!/usr/bin/env bash
# Every test there is, with what it needs: installs it, starts real services, stops them at the end (also after a
# failure), and closes with one line that counts what really ran. `make test` calls this.
#
# CI=true             a service that cannot be had is a failure, not a counted skip
# FRESHET_TEST_LOGS   where the logs go (default: test-logs in the target folder)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
# shellcheck source=tests/services/lib.sh
. "$here/services/lib.sh"
cd "$root"

target="${CARGO_TARGET_DIR:-$root/target}"
case "$target" in /*) ;; *) target="$root/$target" ;; esac
logs="${FRESHET_TEST_LOGS:-$target/test-logs}"
mkdir -p "$logs"
rm -f "$logs"/*.log "$logs"/*.json
skips="$logs/skipped"
: >"$skips"
began=$SECONDS

passed=0
failed=0
skipped=0
failures=()

in_ci() { [ "${CI:-}" = true ]; }
if in_ci; then export CARGO_INCREMENTAL=0; fi

export FRESHET_TEST_KAFKA_PORT=0
export FRESHET_TEST_KAFKA_RUN="$logs/kafka"
export FRESHET_TEST_S3_PORT=0
export FRESHET_TEST_S3_RUN="$logs/s3"
fetching=()

# shellcheck disable=SC2317  # called by the trap
clean_up() {
  local code=$? pid
  trap - EXIT INT TERM
  for pid in "${fetching[@]}"; do kill "$pid" 2>/dev/null || true; done
  "$here/services/kafka.sh" stop || true
  "$here/services/s3.sh" stop || true
  exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# count PASSED FAILED SKIPPED WHAT
count() {
  passed=$((passed + $1))
  failed=$((failed + $2))
  skipped=$((skipped + $3))
  if [ "$2" -gt 0 ]; then failures+=("$4"); fi
}

# run NAME COMMAND..: shows and keeps its output, says how long it took; its exit code is in $code.
code=0
run() {
  local name=$1 start=$SECONDS
  shift
  say "== $name: $*"
  code=0
  "$@" 2>&1 | tee "$logs/$name.log" || code=$?
  say "== $name: exit code $code after $((SECONDS - start)) s"
}

# check NAME COMMAND..: one check that passes or fails as a whole.
check() {
  run "$@"
  if [ "$code" = 0 ]; then count 1 0 0 "$1"; else count 0 1 0 "$1"; fi
}

# missing WHAT WHY: a part that cannot be tested on this machine.
missing() {
  if in_ci; then
    say "!! FAILED: $1: $2"
    count 0 1 0 "$1"
  else
    say "!! SKIPPED: $1: $2"
    count 0 0 1 "$1"
  fi
}

# in_background NAME COMMAND..: fetches something while cargo compiles; `fetched NAME` waits for it.
in_background() {
  local name=$1
  shift
  (
    result=0
    "$@" >"$logs/$name.log" 2>&1 || result=$?
    echo "$result" >"$logs/$name.code"
  ) &
  fetching+=("$!")
}

fetched() {
  until [ -s "$logs/$1.code" ]; do sleep 0.2; done
  [ "$(cat "$logs/$1.code")" = 0 ]
}

# counts_of_cargo LOG: sums of libtest's result lines, one for each test binary.
counts_of_cargo() {
  awk '/^test result: / { p += $4; f += $6; i += $8 } END { print p + 0, f + 0, i + 0 }' "$1"
}

# counts_of_lines LOG: `3 failed`, `12 passed`, `1 skipped`, each the last of its kind, as Vitest and our browser tests end.
counts_of_lines() {
  sed 's/\x1b\[[0-9;]*m//g' "$1" | awk '
    /^ *Test Files / { next }
    { for (i = 2; i <= NF; i++) { word = $i; gsub(/[^a-z]/, "", word)
        if ($(i-1) ~ /^[0-9]+$/ && (word == "passed" || word == "failed" || word == "skipped" || word == "flaky")) n[word] = $(i-1) } }
    END { print n["passed"] + n["flaky"], n["failed"] + 0, n["skipped"] + 0 }'
}

# --- what is needed ---------------------------------------------------------------------------------------------------

rm -f "$logs"/*.code
"$here/services/deps.sh"
# One after the other: two apt-get at once would wait for each other's lock and give up.
fetch_services() {
  local result=0
  "$here/services/kafka.sh" fetch >"$logs/kafka-fetch.log" 2>&1 || result=$?
  echo "$result" >"$logs/kafka-fetch.code"
  # Without it its tests say so.
  (have strace || apt_install strace) >"$logs/strace.log" 2>&1 || true
  result=0
  "$here/services/s3.sh" fetch >"$logs/s3-fetch.log" 2>&1 || result=$?
  echo "$result" >"$logs/s3-fetch.code"
  result=0
  "$here/services/python.sh" >"$logs/python-path" 2>"$logs/python.log" || result=$?
  echo "$result" >"$logs/python.code"
  result=0
  "$here/services/chromium.sh" >"$logs/chromium-path" 2>"$logs/chromium.log" || result=$?
  echo "$result" >"$logs/chromium.code"
  return 0
}
in_background services fetch_services
node_found=no
if have npm; then
  node_found=yes
  npm_ci() { (cd "$1" && npm ci --no-audit --no-fund); }
  in_background npm-web npm_ci dashboards/web
fi

# --- Rust -------------------------------------------------------------------------------------------------------------

check fmt cargo fmt --all --check
check fmt-fuzz cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
# One command for binaries and tests, so that both have the same dependencies: nothing is compiled twice.
run build cargo build --workspace --locked --bins --tests
if [ "$code" != 0 ]; then
  count 0 1 0 build
else
  count 1 0 0 build
  kafka_address=""
  if fetched kafka-fetch && "$here/services/kafka.sh" start; then
    kafka_address=$("$here/services/kafka.sh" address)
  else
    say "!! no Kafka: $(tail -n 3 "$logs/kafka-fetch.log")"
  fi
  s3_address=""
  if fetched s3-fetch && "$here/services/s3.sh" start; then
    s3_address=$("$here/services/s3.sh" address)
  else
    say "!! no S3 server: $(tail -n 3 "$logs/s3-fetch.log")"
  fi
  python_path=""
  if fetched python; then
    python_path=$(tail -n 1 "$logs/python-path")
  else
    say "!! no DuckDB, pyarrow and pydruid: $(tail -n 3 "$logs/python.log")"
  fi
  FRESHET_TEST_KAFKA="$kafka_address" FRESHET_TEST_S3="$s3_address" FRESHET_TEST_PYTHON="$python_path" \
    FRESHET_TEST_SKIPS="$skips" FRESHET_TEST_BIN="$target/debug/freshet" \
    run cargo-test cargo test --workspace --locked --no-fail-fast
  read -r p f i <<<"$(counts_of_cargo "$logs/cargo-test.log")"
  # A test that could not have its service wrote a line into the list; libtest counts it as passed.
  s=$(wc -l <"$skips")
  if [ "$code" != 0 ] && [ "$f" = 0 ]; then f=1; fi
  count $((p - s)) "$f" $((i + s)) cargo-test
fi
check clippy cargo clippy --workspace --all-targets --locked -- -D warnings
# Each fuzz target for some seconds, from the committed corpus and with one seed: that they build, that their counters work, and
# that what was found once is not there again. `make soak PIECE=fuzz` looks for more.
rm -rf "$logs/fuzz-corpus"
FRESHET_TEST_SEED=1 FRESHET_FUZZ_CORPUS="$logs/fuzz-corpus" run fuzz tests/fuzz.sh 5
read -r p f s <<<"$(counts_of_lines "$logs/fuzz.log")"
if [ "$code" != 0 ] && [ "$f" = 0 ]; then f=1; fi
count "$p" "$f" "$s" fuzz

# --- the page ---------------------------------------------------------------------------------------------------------

if [ "$node_found" = no ]; then
  missing "tests of the page" "Node 20 or newer with npm is not installed"
elif ! fetched npm-web; then
  missing "tests of the page" "npm ci failed in dashboards/web: $(tail -n 3 "$logs/npm-web.log")"
else
  check web-types npm --prefix dashboards/web run check
  run web-test npm --prefix dashboards/web test
  read -r p f s <<<"$(counts_of_lines "$logs/web-test.log")"
  if [ "$code" != 0 ] && [ "$f" = 0 ]; then f=1; fi
  count "$p" "$f" "$s" web-test
fi

if [ -f tests/browser/package.json ]; then
  if [ "$node_found" = no ]; then
    missing "browser tests" "Node 20 or newer with npm is not installed"
  elif ! fetched chromium; then
    missing "browser tests" "no Chromium: $(tail -n 3 "$logs/chromium.log")"
  elif [ ! -x "$target/debug/freshet" ]; then
    say "!! browser tests did not run: there is no binary"
  elif ! npm_ci tests/browser >"$logs/npm-browser.log" 2>&1; then
    missing "browser tests" "npm ci failed in tests/browser: $(tail -n 3 "$logs/npm-browser.log")"
  else
    CHROMIUM=$(tail -n 1 "$logs/chromium-path") FRESHET_TEST_BIN="$target/debug/freshet" \
      run browser env -u FRESHET_CACHE npm --prefix tests/browser test
    read -r p f s <<<"$(counts_of_lines "$logs/browser.log")"
    if [ "$code" != 0 ] && [ "$f" = 0 ]; then f=1; fi
    count "$p" "$f" "$s" browser
  fi
fi

# --- the closing line -------------------------------------------------------------------------------------------------

if [ -s "$skips" ]; then sed 's/^/!! SKIPPED: /' "$skips" >&2; fi
if [ ${#failures[@]} -gt 0 ]; then say "failed: ${failures[*]} (logs in $logs)"; fi
echo "$passed passed, $failed failed, $skipped skipped in $((SECONDS - began)) s"
[ "$failed" = 0 ] && [ ${#failures[@]} = 0 ]
