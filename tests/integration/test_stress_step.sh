#!/bin/bash
# S16 S19 S22 S23 S28 S29: every kind of move, before every system call of every kind of request; and the bugs that servers had are found that way.
# timeout: 300
. "$(dirname "$0")/lib.sh"
case ${VARIANT:-plain} in plain) sample=1500 ;; *) sample=4000 ;; esac
traced() { # arguments: 0 safe, 1 an escape; else the kernel does not let us
	"$GOFER" stress step "$@" >"$T/out" 2>"$T/err" && return 0
	! grep -q 'cannot be traced' "$T/err" || skip "a server cannot be traced here"
	cat "$T/out" "$T/err"
	return 1
}
traced --sample "$sample" || fail "a request escapes"
traced --sample "$sample" --no-openat2 || fail "a request escapes without openat2"
traced --sample "$sample" --shipped || fail "a request escapes with all layers"
# How many cases between two that are played: few lead to where a mode is set by name.
for bug in slash:Stat:7 check:Stat:7 fixup:Mkdir:2 absolute:Mkdir:7; do
	IFS=: read -r bug rpc every <<<"$bug"
	traced --gofer "$BUILD/tests/stress/mutant-$bug" --rpc "$rpc" --sample "$every" >/dev/null && fail "the bug '$bug' was not found"
	grep -q '^FAIL .* escapes in ' "$T/out" || fail "no escape was reported: $(tail -n 3 "$T/out" "$T/err")"
	grep -A 1 evidence: "$T/out" | tail -n 1
done
# S27: who tries again while others rename is found by its system calls; that takes another CPU.
(($(nproc) > 1)) || exit 0
traced --gofer "$BUILD/tests/stress/mutant-dotdot" --sample 100000 >/dev/null && fail "retries were not found"
grep -q '^FAIL .* began again because of renames' "$T/out" || fail "no retry was reported: $(tail -n 3 "$T/out" "$T/err")"
