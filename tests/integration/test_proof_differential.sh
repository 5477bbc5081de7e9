#!/bin/bash
# S92: random users and operations through the gofer and through the kernel: the same errno, the same tree.
# CASES=100000 for the long run; SEED= for another one.
# timeout: 300
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/differential
[ -x "$prog" ] || fail "$prog is not built"
[ "$(id -u)" = 0 ] || skip "needs root: identities are delegated by a server that runs as root"
case ${VARIANT:-plain} in plain) n=20000 ;; *) n=5000 ;; esac
mkdir "$T/served" "$T/twin"
touch "$T/probe"
setfacl -m u:1:r "$T/probe" 2>/dev/null || skip "no POSIX ACLs on the file system of $T"
start_server -v "$T/served:t:rw,identity=delegate,special=allow"
"$prog" -n "${CASES:-$n}" ${SEED:+-s "$SEED"} "$T/served" "$T/twin" || fail "the gofer and the kernel disagree"
stop_server
