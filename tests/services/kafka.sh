#!/usr/bin/env bash
# A real Apache Kafka for tests and for trying Freshet: one KRaft node on loopback, nothing installed system-wide.
#
#   kafka.sh start                      fetch Kafka when needed, format its storage, start it, wait until it answers
#   kafka.sh stop                       stop the node this script started, and remove its data
#   kafka.sh kill                       end it at once (kill -9) and keep the data; `start` brings it back
#   kafka.sh status                     one line; exit code 0 when it answers
#   kafka.sh address                    host:port of the running node
#   kafka.sh behind-proxy               host:port of the listener whose clients are told the port of a proxy
#   kafka.sh fetch                      only fetch the jars
#   kafka.sh create-topic TOPIC [PARTITIONS]
#   kafka.sh add-partitions TOPIC TOTAL
#   kafka.sh count TOPIC                number of records in it
#   kafka.sh produce FILE TOPIC         one record a line; a .gz file is unpacked on the way
#
# FRESHET_TEST_KAFKA_PORT  port of the broker (default 19092; 0: a free one is chosen, and kept for this run folder)
# FRESHET_TEST_KAFKA_RUN   run folder: pid, log, data (default: in the cache, one for each port)
# FRESHET_TEST_KAFKA_PROXY port of a proxy: a second listener is opened that tells its clients to come to 127.0.0.1 at this port.
#                          Who connects through the proxy stays behind it, because a broker's address is what the broker says.
# FRESHET_TEST_KAFKA_HEAP  heap of the broker (default 512m)
# FRESHET_CACHE       where fetched files stay (default: ~/.cache/freshet)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/services/lib.sh
. "$here/lib.sh"

port="${FRESHET_TEST_KAFKA_PORT:-19092}"
run="${FRESHET_TEST_KAFKA_RUN:-$cache_dir/run/kafka-$port}"
[ ! -s "$run/port" ] || port=$(cat "$run/port")
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/kafka/pom.xml")
jars="$cache_dir/kafka-$version"

need_java() {
  if ! have java; then apt_install openjdk-17-jre-headless; fi
  local major
  major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
  [ "${major:-0}" -ge 17 ] || die "Kafka $version needs Java 17 or newer; this machine's java is ${major:-unknown}"
}

fetch() {
  need_java
  if [ -e "$jars/READY" ]; then return 0; fi
  if ! have mvn; then apt_install maven; fi
  mkdir -p "$cache_dir"
  # Two checkouts may fetch at once: one does, the other waits and finds it done.
  exec 9>"$cache_dir/kafka-$version.lock"
  flock 9
  if [ ! -e "$jars/READY" ]; then
    say "fetching Apache Kafka $version from Maven Central into $jars"
    local part="$jars.part.$$" try
    rm -rf "$part" "$jars"
    for try in 1 2 3; do
      if mvn -q -B -C -Dstyle.color=never -f "$here/kafka/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$part" >&2; then
        break
      fi
      [ "$try" -lt 3 ] || die "Maven could not fetch Kafka $version; is Maven Central (or the mirror in ~/.m2/settings.xml) reachable?"
      sleep 3
    done
    touch "$part/READY"
    mv "$part" "$jars"
  fi
  flock -u 9
}

# java_tool CLASS ARG..: one of Kafka's own command line tools. Short JVM runs: the quick compiler is enough.
java_tool() {
  java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
    -cp "$jars/*" "$@"
}

pid_of_node() {
  [ -s "$run/pid" ] || return 1
  local pid
  pid=$(cat "$run/pid")
  # The number may belong to another process by now: ours has this run folder in its command line.
  tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$run/server.properties" || return 1
  alive "$pid" || return 1
  echo "$pid"
}

address() { echo "127.0.0.1:$port"; }

running_or_die() {
  [ -e "$jars/READY" ] || die "Kafka was not fetched; run: $0 start"
  pid_of_node >/dev/null || die "no Kafka of this script runs on $(address); run: $0 start"
}

start() {
  fetch
  if pid_of_node >/dev/null; then
    say "Kafka $version already runs on $(address)"
    return 0
  fi
  mkdir -p "$run"
  run=$(cd "$run" && pwd)
  if [ "$port" = 0 ]; then port=$(free_port); fi
  local controller
  if [ -s "$run/controller" ]; then controller=$(cat "$run/controller"); else controller=$(free_port); fi
  local taken
  for taken in "$port" "$controller"; do
    ! port_taken "$taken" || die "port $taken is in use by something else; set FRESHET_TEST_KAFKA_PORT to a free one (or 0)"
  done
  echo "$port" >"$run/port"
  echo "$controller" >"$run/controller"
  local listeners="PLAINTEXT://127.0.0.1:$port" advertised="PLAINTEXT://127.0.0.1:$port"
  if [ -n "${FRESHET_TEST_KAFKA_PROXY:-}" ]; then
    [ -s "$run/behind-proxy" ] || free_port >"$run/behind-proxy"
    listeners="$listeners,PROXIED://127.0.0.1:$(cat "$run/behind-proxy")"
    advertised="$advertised,PROXIED://127.0.0.1:$FRESHET_TEST_KAFKA_PROXY"
  fi
  cat >"$run/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=$listeners,CONTROLLER://127.0.0.1:$controller
advertised.listeners=$advertised
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$run/data
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.retention.ms=-1
message.max.bytes=20971520
replica.fetch.max.bytes=20971520
num.network.threads=2
num.io.threads=2
log.cleaner.enable=false
controlled.shutdown.enable=false
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
PROPERTIES
  if [ ! -e "$run/data/meta.properties" ]; then
    java_tool kafka.tools.StorageTool random-uuid >"$run/cluster-id"
    java_tool kafka.tools.StorageTool format -t "$(cat "$run/cluster-id")" -c "$run/server.properties" \
      >"$run/format.log" 2>&1 || die "Kafka's storage could not be formatted: $(tail -n 3 "$run/format.log")"
  fi
  # Its own session: a Ctrl-C meant for the caller does not reach it, only `stop` ends it.
  setsid java "-Xmx${FRESHET_TEST_KAFKA_HEAP:-512m}" "-Xms128m" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC \
    -Djava.awt.headless=true -Dorg.slf4j.simpleLogger.showDateTime=true \
    -Dorg.slf4j.simpleLogger.dateTimeFormat="yyyy-MM-dd'T'HH:mm:ss.SSS" \
    -cp "$jars/*" kafka.Kafka "$run/server.properties" </dev/null >>"$run/kafka.log" 2>&1 9>&- &
  echo $! >"$run/pid"
  local tries=0
  until answers; do
    pid_of_node >/dev/null || die "Kafka ended while starting; the end of $run/kafka.log: $(tail -n 5 "$run/kafka.log")"
    tries=$((tries + 1))
    [ "$tries" -lt 120 ] || die "Kafka does not answer on $(address) after two minutes; see $run/kafka.log"
    sleep 0.5
  done
  say "Kafka $version answers on $(address) (log: $run/kafka.log)"
}

# Metadata over the wire, not only an open port.
answers() {
  port_taken "$port" &&
    java_tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$(address)" --list >/dev/null 2>&1
}

stop() {
  local pid
  if pid=$(pid_of_node); then
    stop_pid "$pid" 20
    say "Kafka on $(address) stopped"
  fi
  # Only what `start` made, and only in a folder that `start` made.
  if [ -e "$run/server.properties" ]; then
    rm -rf "$run/data"
    rm -f "$run/pid" "$run/port" "$run/controller" "$run/behind-proxy" "$run/cluster-id" "$run/server.properties" "$run/format.log"
  fi
}

kill_node() {
  local pid
  pid=$(pid_of_node) || die "no Kafka of this script runs on $(address)"
  kill -KILL "$pid"
  while alive "$pid"; do sleep 0.05; done
  rm -f "$run/pid"
}

status() {
  local pid
  if ! pid=$(pid_of_node); then
    echo "Kafka $version: not running (run folder $run)"
    return 1
  fi
  if answers; then
    echo "Kafka $version: answers on $(address), pid $pid, run folder $run"
  else
    echo "Kafka $version: pid $pid does not answer on $(address), see $run/kafka.log"
    return 1
  fi
}

topics() { java_tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$(address)" "$@"; }

create_topic() {
  running_or_die
  topics --create --if-not-exists --topic "$1" --partitions "${2:-1}" --replication-factor 1 >&2
}

add_partitions() {
  running_or_die
  topics --alter --topic "$1" --partitions "$2" >&2
}

count() {
  running_or_die
  java_tool org.apache.kafka.tools.GetOffsetShell --bootstrap-server "$(address)" --topic "$1" |
    awk -F: '{ sum += $3 } END { print sum + 0 }'
}

produce() {
  local file=$1 topic=$2 reader="cat"
  [ -r "$file" ] || die "cannot read $file"
  case "$file" in *.gz) reader="zcat" ;; esac
  running_or_die
  "$reader" "$file" | java_tool org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$(address)" \
    --topic "$topic" --producer-property compression.type=lz4 --producer-property acks=all \
    --max-block-ms 30000 --batch-size 262144 >&2
}

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}" >&2; }

case "${1:-}" in
  start) start ;;
  stop) stop ;;
  kill) kill_node ;;
  status) status ;;
  address) running_or_die && address ;;
  behind-proxy)
    running_or_die
    [ -s "$run/behind-proxy" ] || die "this Kafka was started without FRESHET_TEST_KAFKA_PROXY"
    echo "127.0.0.1:$(cat "$run/behind-proxy")"
    ;;
  fetch) fetch ;;
  create-topic) [ $# -ge 2 ] || { usage && exit 2; }; create_topic "${@:2}" ;;
  add-partitions) [ $# -eq 3 ] || { usage && exit 2; }; add_partitions "${@:2}" ;;
  count) [ $# -eq 2 ] || { usage && exit 2; }; count "$2" ;;
  produce) [ $# -eq 3 ] || { usage && exit 2; }; produce "${@:2}" ;;
  *) usage && exit 2 ;;
esac
