#!/bin/sh
# The service `setup` of docker-compose.yml. It writes what no fixed file can say, waits for the servers, and ends.
#   toxiproxy.json                 the proxies memcached1..3: in front of MEMCACHE_HOST, or of the containers of these names
#   loadgen.json, scenariod.json   where Prometheus finds the programs that run on the host
# Usage: setup.sh FOLDER SECONDS; the servers may take that long to start, and 0 does not wait. For the shell and tools of busybox.
set -eu
folder=$1
patience=$2
servers="1 2 3"

# No proxies of an earlier run are left.
fail() {
  rm -f "$folder/toxiproxy.json"
  echo "setup: $*" >&2
  exit 1
}

# What containers call the host: Docker Desktop and Podman have a name for it. Docker Engine on Linux has none; the gateway of a
# network is the host there. (`host-gateway` would need Podman 4.7.)
host() {
  for name in host.docker.internal host.containers.internal; do
    if grep -qw "$name" /etc/hosts; then
      echo "$name"
      return
    fi
  done
  if nslookup -type=a host.docker.internal >/dev/null 2>&1; then
    echo host.docker.internal
    return
  fi
  gateway=$(ip route | sed -n 's/^default via \([^ ]*\).*/\1/p')
  [ -n "$gateway" ] || fail "this network has no gateway, so nothing on the host can be reached from a container"
  echo "$gateway"
}

# The host that MEMCACHE_HOST names, without brackets; empty: the containers of this stack.
memcache_host() {
  given=${MEMCACHE_HOST:-}
  name=$given
  case $given in
    \[*:*\])
      name=${given#[}
      name=${name%]}
      ;;
  esac
  case $name in
    *[!A-Za-z0-9._:%-]*) refuse ;;
    *:*:*) ;; # an IPv6 address
    *:*) refuse ;;
  esac
  # In a container these would be the container itself.
  case $name in
    localhost | 127.* | ::1) host ;;
    *) echo "$name" ;;
  esac
}

refuse() {
  fail "MEMCACHE_HOST='$given' is no host: give a name or an address alone; the ports are 11211-11213"
}

# Of proxy number $1: the host, in brackets where it is an IPv6 address.
upstream() {
  case ${remote:-memcached$1} in
    *:*) echo "[$remote]" ;;
    *) echo "${remote:-memcached$1}" ;;
  esac
}

proxies() {
  separator='['
  for n in $servers; do
    printf '%s{"name": "memcached%s", "listen": "0.0.0.0:2121%s", "upstream": "%s:1121%s", "enabled": true}' \
      "$separator" "$n" "$n" "$(upstream "$n")" "$n"
    separator=',
'
  done
  echo ']'
}

target() { # PORT
  printf '[{"targets": ["%s:%s"], "labels": {"instance": "host:%s"}}]\n' "$on_host" "$1" "$1"
}

wait_for_server() { # NUMBER
  until printf 'version\r\nquit\r\n' | nc -w 2 "${remote:-memcached$1}" "1121$1" 2>/dev/null | grep -q VERSION; do
    patience=$((patience - 1))
    [ "$patience" -gt 0 ] || fail "no memcached answers at $(upstream "$1"):1121$1: is it started, and does its firewall let this host in?"
    sleep 1
  done
}

on_host=$(host)
for program in loadgen:9090 scenariod:9092; do
  file="$folder/${program%:*}.json"
  target "${program#*:}" > "$file.new"
  mv "$file.new" "$file"
done
remote=$(memcache_host)
if [ "$patience" -gt 0 ]; then
  for n in $servers; do
    wait_for_server "$n"
  done
fi
# Whole at once: Podman runs this again whenever something that waits for it is started, and Toxiproxy may be reading.
proxies > "$folder/toxiproxy.new"
cat "$folder/toxiproxy.new"
mv "$folder/toxiproxy.new" "$folder/toxiproxy.json"
