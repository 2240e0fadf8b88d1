# shellcheck shell=bash
# Helpers shared by the *-up and *-down scripts of this folder; sourced, not run.
# State of every service lies under ${CLUSTERS_DIR:-${TMPDIR:-/tmp}/batchwright-clusters}/NAME.
CLUSTERS_DIR=${CLUSTERS_DIR:-${TMPDIR:-/tmp}/batchwright-clusters}
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { echo "${0##*/}: $*" >&2; }
die() { say "FAILED: $*"; exit 1; }

set -E
trap 'rc=$?; echo "${0##*/}: FAILED at line $LINENO: $BASH_COMMAND (exit $rc)" >&2' ERR

need_root() { [ "$(id -u)" = 0 ] || die "must run as root"; }

# apt_install PACKAGE... : installs those that are missing, without letting
# their maintainer scripts start any daemon.
apt_install() {
  local p missing=()
  for p in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  command -v apt-get >/dev/null || die "no apt-get here; install by hand: ${missing[*]}"
  say "installing: ${missing[*]}"
  local rc=0 guard=0 log
  log=$(mktemp)
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    guard=1
  fi
  export DEBIAN_FRONTEND=noninteractive
  { apt-get -o DPkg::Lock::Timeout=300 update -q &&
    apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "${missing[@]}"
  } </dev/null >"$log" 2>&1 || rc=$?
  [ $guard = 1 ] && rm -f /usr/sbin/policy-rc.d
  if [ $rc != 0 ]; then tail -20 "$log" >&2; rm -f "$log"; die "apt-get install ${missing[*]} (exit $rc)"; fi
  rm -f "$log"
}

# pid_of PIDFILE WORD : prints the pid in PIDFILE if that process lives and its
# command line holds WORD (so that a recycled pid is never taken for ours).
pid_of() {
  local pid
  [ -s "$1" ] || return 1
  pid=$({ tr -dc '0-9\n' <"$1" | head -n 1; } 2>/dev/null) || return 1
  [ -n "$pid" ] && [ -r "/proc/$pid/cmdline" ] || return 1
  { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF -- "$2" || return 1
  ! grep -q '^State:[[:space:]]*[ZX]' "/proc/$pid/status" 2>/dev/null || return 1
  echo "$pid"
}

# stop_pidfile PIDFILE WORD [SECONDS] : TERM, then KILL after SECONDS (10).
stop_pidfile() {
  local pid i limit=$(( ${3:-10} * 20 ))
  if pid=$(pid_of "$1" "$2"); then
    kill -TERM "$pid" 2>/dev/null || true
    for ((i = 0; i < limit; i++)); do pid_of "$1" "$2" >/dev/null || break; sleep 0.05; done
    if pid_of "$1" "$2" >/dev/null; then kill -KILL "$pid" 2>/dev/null || true; sleep 0.2; fi
  fi
  rm -f "$1"
}

# end_shims DIR : ends the containerd shims whose sockets lie under DIR, and the
# first process of each of their containers (the others go with it).
end_shims() {
  local d k
  for d in /proc/[0-9]*; do
    case $({ tr '\0' ' ' <"$d/cmdline"; } 2>/dev/null || true) in
      *containerd-shim*"$1"*)
        for k in $(cat "$d"/task/*/children 2>/dev/null || true) "${d#/proc/}"; do kill -KILL "$k" 2>/dev/null || true; done ;;
    esac
  done
}

# wait_for SECONDS WHAT COMMAND... : polls COMMAND; dies when it never succeeds.
wait_for() {
  local limit=$1 what=$2 end; shift 2
  end=$(( $(date +%s%N) + limit * 1000000000 ))
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s%N)" -lt $end ] || die "waited ${limit}s in vain for: $what"
    sleep 0.1
  done
}

# loopback_shim : builds (once) a preload that turns a bind() to 0.0.0.0 or ::
# into one to 127.0.0.1 or ::1, for daemons without a listen-address setting;
# prints its path, or nothing where there is no C compiler.
loopback_shim() {
  local out=$CLUSTERS_DIR/loopback_shim.so
  if [ ! -s "$out" ]; then
    command -v cc >/dev/null || return 0
    mkdir -p "$CLUSTERS_DIR"
    cat >"$out.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
int bind(int fd, const struct sockaddr *a, socklen_t n) {
    static int (*real)(int, const struct sockaddr *, socklen_t);
    if (!real) real = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "bind");
    if (a && a->sa_family == AF_INET && n >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in b; memcpy(&b, a, sizeof b);
        if (b.sin_addr.s_addr == htonl(INADDR_ANY)) {
            b.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            return real(fd, (struct sockaddr *)&b, sizeof b);
        }
    }
    if (a && a->sa_family == AF_INET6 && n >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 b; memcpy(&b, a, sizeof b);
        if (!memcmp(&b.sin6_addr, &in6addr_any, sizeof in6addr_any)) {
            b.sin6_addr = in6addr_loopback;
            return real(fd, (struct sockaddr *)&b, sizeof b);
        }
    }
    return real(fd, a, n);
}
C
    cc -shared -fPIC -O1 -o "$out.tmp" "$out.c" -ldl && mv "$out.tmp" "$out" || return 0
  fi
  echo "$out"
}
