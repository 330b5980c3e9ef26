# Shared by the scripts of this folder; sourced, never run.
# shellcheck shell=bash

# Where things fetched from the network stay, outside the checkout: shared by all checkouts of a user.
# A variable for scripts only: whoever starts freshet takes it out of the environment (unknown FRESHET_* are refused).
# shellcheck disable=SC2034
cache_dir="${FRESHET_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/freshet}"

say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root: directly, or through sudo when it asks for no password (or a person can type it).
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    sudo "$@"
  else
    return 1
  fi
}

# apt_install PACKAGE..: installs what is not installed yet; says what to do when it may not.
apt_install() {
  local missing=() package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  have apt-get || die "these Debian packages are needed: ${missing[*]}; install their like with this system's package manager"
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # A fresh image has no package lists, an old one has outdated ones; both are cured by an update.
  if ! as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
    if ! as_root true; then
      die "these packages are needed, and this user may not install them. Run: sudo apt-get install ${missing[*]}"
    fi
    as_root apt-get update -qq >&2 || die "apt-get update failed; packages still needed: ${missing[*]}"
    as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
      die "apt-get could not install: ${missing[*]}"
  fi
}

# port_taken PORT: does something listen on this loopback port?
port_taken() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port: a loopback port below the range that the system gives to outgoing connections.
free_port() {
  local port try
  for try in $(seq 1 200); do
    port=$((20000 + (RANDOM * 32768 + RANDOM + try) % 12000))
    if ! port_taken "$port"; then
      echo "$port"
      return 0
    fi
  done
  die "found no free loopback port between 20000 and 32000"
}

# alive PID: is it running (and not only waiting to be reaped)?
alive() {
  [ -r "/proc/$1/stat" ] && [ "$(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null)" != Z ]
}

# stop_pid PID SECONDS: asks it to end, waits, ends it.
stop_pid() {
  local pid=$1 tries=$(($2 * 10))
  kill -TERM "$pid" 2>/dev/null || return 0
  while [ "$tries" -gt 0 ] && alive "$pid"; do
    sleep 0.1
    tries=$((tries - 1))
  done
  if alive "$pid"; then
    kill -KILL "$pid" 2>/dev/null || true
  fi
}

# python_venv NAME PACKAGE==VERSION..: the Python of a virtual environment in the cache that holds exactly these packages, made when
# it is not there yet. Its folder is named after its packages, so another version makes another one.
python_venv() {
  local name=$1 venv try
  shift
  have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
  venv="$cache_dir/$name-$(printf '%s\n' "$@" "$(python3 -V)" | cksum | cut -d ' ' -f 1)"
  if [ ! -e "$venv/READY" ]; then
    mkdir -p "$cache_dir"
    # Two checkouts may fetch at once: one does, the other waits and finds it done.
    exec 8>"$venv.lock"
    flock 8
    if [ ! -e "$venv/READY" ]; then
      say "fetching $* into $venv"
      # Made in place: the scripts of a virtual environment name its folder.
      rm -rf "$venv"
      python3 -m venv "$venv" >&2 || die "python3 cannot make a virtual environment in $venv"
      for try in 1 2 3; do
        if "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2; then break; fi
        [ "$try" -lt 3 ] || die "pip could not install $*; is PyPI (or the mirror in pip's configuration) reachable?"
        sleep 3
      done
      touch "$venv/READY"
    fi
    flock -u 8
  fi
  echo "$venv/bin/python"
}
