#!/usr/bin/env bash
# Kafka in five minutes: a real broker, a real topic with 39,244 Wikipedia edits, Druid's supervisor spec, and SQL over it.
#
#   kafka-demo.sh           runs until Ctrl-C, then stops what it started
#   kafka-demo.sh --once    ends after the first answers (the tests run it so)
#
# FRESHET_URL         the server to use (default http://127.0.0.1:8888); started here when nothing answers there
# FRESHET_TEST_BIN         a freshet binary to start (default: built here)
# FRESHET_TEST_KAFKA_PORT  port of the broker (default 19092), further settings in kafka.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=tests/services/lib.sh
. "$here/lib.sh"

url="${FRESHET_URL:-http://127.0.0.1:8888}"
url="${url%/}"
table=wikipedia
rows_expected=39244
once=no
case "${1:-}" in
  --once) once=yes ;;
  "") ;;
  *) die "unknown argument $1; usage: $0 [--once]" ;;
esac
have curl || apt_install curl

work=$(mktemp -d)
server_pid=""
kafka_started=no
supervisor_posted=no

# shellcheck disable=SC2317  # called by the trap
clean_up() {
  local code=$?
  trap - EXIT INT TERM
  if [ -n "$server_pid" ]; then
    stop_pid "$server_pid" 20
    say "freshet stopped"
  elif [ "$supervisor_posted" = yes ] && [ "$kafka_started" = yes ]; then
    # The server is not ours and stays, its broker goes: without this it would look for the broker for ever.
    curl -s -o "$work/terminate" -X POST -H 'Content-Type: application/json' \
      "$url/druid/indexer/v1/supervisor/$table/terminate" || true
  fi
  if [ "$kafka_started" = yes ]; then "$here/kafka.sh" stop || true; fi
  rm -rf "$work"
  exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

answers() { [ "$(curl -s -m 5 "$url/status/health" 2>/dev/null)" = true ]; }

# post PATH JSON-FILE: the body of the answer; the answer and an end on anything but 200.
post() {
  local code
  code=$(curl -s -m 60 -o "$work/answer" -w '%{http_code}' -X POST -H 'Content-Type: application/json' \
    --data-binary "@$2" "$url$1") || die "no answer from $url$1"
  [ "$code" = 200 ] || die "$url$1 answered $code: $(cat "$work/answer")"
  cat "$work/answer"
}

# sql TEXT [FORMAT]: quotes in the text are escaped for JSON; the texts below have no backslash.
sql() {
  printf '{"query":"%s","resultFormat":"%s","header":%s}' "${1//\"/\\\"}" "${2:-csv}" "${3:-true}" >"$work/query.json"
  post /druid/v2/sql "$work/query.json"
}

ask() {
  say ""
  say "  $1"
  sql "$1" | sed -e '/^$/d' -e 's/^/    /'
}

# 1. The broker, and the edits in a topic.
if "$here/kafka.sh" status >/dev/null; then
  say "using the Kafka that runs already"
else
  kafka_started=yes
  "$here/kafka.sh" start
fi
bootstrap=$("$here/kafka.sh" address)
"$here/kafka.sh" create-topic wikipedia 1
in_topic=$("$here/kafka.sh" count wikipedia)
if [ "$in_topic" = 0 ]; then
  say "producing $rows_expected edits of 2015-09-12 into the topic wikipedia"
  "$here/kafka.sh" produce "$root/tests/fixtures/wikiticker-2015-09-12-sampled.json.gz" wikipedia
elif [ "$in_topic" != "$rows_expected" ]; then
  die "the topic wikipedia of $bootstrap holds $in_topic records, not $rows_expected; stop that broker with tests/services/kafka.sh stop"
fi

# 2. The server.
if answers; then
  say "using the Freshet that runs on $url"
else
  bin="${FRESHET_TEST_BIN:-}"
  if [ -z "$bin" ]; then
    "$here/deps.sh"
    (cd "$root" && cargo build --workspace --bin freshet --profile demo --locked)
    bin="${CARGO_TARGET_DIR:-$root/target}/demo/freshet"
  fi
  listen="${url#http://}"
  [ "$listen" != "$url" ] || die "FRESHET_URL must begin with http://, it is $url"
  # These two are for scripts; as settings the server would refuse them.
  env -u FRESHET_URL -u FRESHET_CACHE "$bin" --listen "$listen" --data-dir "$work/data" >"$work/freshet.log" 2>&1 &
  server_pid=$!
  tries=0
  until answers; do
    alive "$server_pid" || die "freshet ended while starting: $(tail -n 5 "$work/freshet.log")"
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || die "freshet does not answer on $url after 30 seconds: $(tail -n 5 "$work/freshet.log")"
    sleep 0.1
  done
  say "Freshet answers on $url"
fi

# 3. The spec, as it would be posted to Druid.
sed "s/\"bootstrap.servers\": *\"[^\"]*\"/\"bootstrap.servers\": \"$bootstrap\"/" \
  "$root/tests/fixtures/wikipedia-kafka.json" >"$work/spec.json"
say ""
say "  curl -X POST -H 'Content-Type: application/json' --data-binary @tests/fixtures/wikipedia-kafka.json \\"
say "    $url/druid/indexer/v1/supervisor"
say "    $(post /druid/indexer/v1/supervisor "$work/spec.json")"
supervisor_posted=yes

# 4. Rows are there as soon as they are read. The table exists from the first one on.
tries=0
rows=0
until [ "$rows" = "$rows_expected" ]; do
  tries=$((tries + 1))
  if [ "$tries" -ge 240 ]; then
    say "the supervisor says: $(curl -s -m 5 "$url/druid/indexer/v1/supervisor/$table/status")"
    die "$rows of $rows_expected rows after two minutes"
  fi
  printf '{"query":"SELECT COUNT(*) FROM \\"%s\\"","resultFormat":"csv"}' "$table" >"$work/query.json"
  rows=$(curl -s -m 10 -X POST -H 'Content-Type: application/json' --data-binary "@$work/query.json" \
    "$url/druid/v2/sql" | sed -n '1s/^\([0-9]\{1,\}\)$/\1/p')
  rows="${rows:-0}"
  [ "$rows" -le "$rows_expected" ] || die "$rows rows, but only $rows_expected records were produced"
  [ "$rows" = "$rows_expected" ] || sleep 0.5
done
say "$rows rows are queryable"

# 5. First questions.
ask 'SELECT COUNT(*) AS "rows", SUM(added) AS added, SUM(deleted) AS deleted, SUM(delta) AS delta FROM wikipedia'
ask 'SELECT MIN(__time) AS first_edit, MAX(__time) AS last_edit FROM wikipedia'
ask 'SELECT channel, COUNT(*) AS edits FROM wikipedia GROUP BY channel ORDER BY edits DESC LIMIT 6'
ask "SELECT page, COUNT(*) AS Edits FROM wikipedia WHERE __time >= TIMESTAMP '2015-09-12 00:00:00' AND __time < TIMESTAMP '2015-09-13 00:00:00' GROUP BY page ORDER BY Edits DESC LIMIT 10"
ask 'SELECT FLOOR(__time TO HOUR) AS HourTime, SUM(deleted) AS LinesDeleted FROM wikipedia GROUP BY 1 ORDER BY 1 LIMIT 6'

say ""
say "the page: $url/"
if [ "$once" = yes ]; then exit 0; fi
say "more edits can be produced with: tests/services/kafka.sh produce FILE wikipedia"
say "Ctrl-C stops what this script started"
while :; do
  if [ -n "$server_pid" ]; then
    wait "$server_pid" || true
    die "freshet ended: $(tail -n 5 "$work/freshet.log")"
  fi
  sleep 3600 &
  wait $! || true
done
