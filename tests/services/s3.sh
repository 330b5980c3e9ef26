#!/usr/bin/env bash
# An S3 server for tests: moto's, from PyPI, on loopback. What it holds is in its memory and goes with it.
#
#   s3.sh start      fetch it when needed, start it, wait until it answers, make the bucket
#   s3.sh stop       stop the server this script started
#   s3.sh status     one line; exit code 0 when it answers
#   s3.sh address    host:port of the running server
#   s3.sh bucket     name of the bucket
#   s3.sh fetch      only fetch it
#
# Any access key is taken. A PUT with `If-None-Match: *` is refused (412) when the object is there, as S3 does. Unlike S3 it does
# not compare the checksum that an upload declares with the bytes that came.
#
# FRESHET_TEST_S3_PORT  port (default 19100; 0: a free one is chosen, and kept for this run folder)
# FRESHET_TEST_S3_RUN   run folder: pid, log (default: in the cache, one for each port)
# FRESHET_CACHE         where fetched files stay (default: ~/.cache/freshet)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/services/lib.sh
. "$here/lib.sh"

bucket=freshet
port="${FRESHET_TEST_S3_PORT:-19100}"
run="${FRESHET_TEST_S3_RUN:-$cache_dir/run/s3-$port}"
[ ! -s "$run/port" ] || port=$(cat "$run/port")

# Only what its S3 needs; the extra `server` brings every service of AWS.
fetch() { python_venv s3 'moto[s3]==5.2.5' 'flask==3.1.3' 'flask-cors==6.0.5' 'werkzeug==3.1.9'; }

address() { echo "127.0.0.1:$port"; }

pid_of_server() {
  [ -s "$run/pid" ] || return 1
  local pid
  pid=$(cat "$run/pid")
  # The number may belong to another process by now: ours has its module and port in its command line.
  tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "moto.server -H 127.0.0.1 -p $port" || return 1
  alive "$pid" || return 1
  echo "$pid"
}

running_or_die() { pid_of_server >/dev/null || die "no S3 server of this script runs on $(address); run: $0 start"; }

answers() { curl -s -f -m 5 -o /dev/null "http://$(address)/$bucket?list-type=2" 2>/dev/null; }

start() {
  have curl || apt_install curl
  local python
  python=$(fetch)
  if pid_of_server >/dev/null && answers; then
    say "an S3 server already runs on $(address)"
    return 0
  fi
  mkdir -p "$run"
  if [ "$port" = 0 ]; then port=$(free_port); fi
  ! port_taken "$port" || die "port $port is in use by something else; set FRESHET_TEST_S3_PORT to a free one (or 0)"
  echo "$port" >"$run/port"
  # Its own session: a Ctrl-C meant for the caller does not reach it, only `stop` ends it.
  setsid "$python" -m moto.server -H 127.0.0.1 -p "$port" </dev/null >>"$run/s3.log" 2>&1 8>&- &
  echo $! >"$run/pid"
  local tries=0
  # Making the bucket is the first thing it answers.
  until curl -s -f -m 5 -o /dev/null -X PUT "http://$(address)/$bucket" && answers; do
    pid_of_server >/dev/null || die "the S3 server ended while starting; the end of $run/s3.log: $(tail -n 5 "$run/s3.log")"
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || die "the S3 server does not answer on $(address) after a minute; see $run/s3.log"
    sleep 0.2
  done
  say "an S3 server (moto) answers on $(address), bucket $bucket (log: $run/s3.log)"
}

stop() {
  local pid
  if pid=$(pid_of_server); then
    stop_pid "$pid" 5
    say "the S3 server on $(address) stopped"
  fi
  rm -f "$run/pid" "$run/port"
}

status() {
  if pid_of_server >/dev/null && answers; then
    echo "S3: answers on $(address), pid $(pid_of_server), run folder $run"
  else
    echo "S3: does not run (run folder $run)"
    return 1
  fi
}

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}" >&2; }

case "${1:-}" in
  start) start ;;
  stop) stop ;;
  status) status ;;
  address) running_or_die && address ;;
  bucket) echo "$bucket" ;;
  fetch) fetch ;;
  *) usage && exit 2 ;;
esac
