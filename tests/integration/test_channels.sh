#!/bin/bash
# Channels of shared memory: the command with them and without them says the same; neither a hostile client nor a hostile server that
# rewrites the memory meanwhile harms the other (S60; HOSTILE_TIME=SECONDS for longer); neither hangs when the other is killed.
# timeout: 300
. "$(dirname "$0")/lib.sh"
prog=$BUILD/tests/integration/channels
[ -x "$prog" ] || fail "$prog is not built"
time=${HOSTILE_TIME:-3}
mkdir -p "$T/vol/a/b" "$T/outside"
printf steady >"$T/vol/steady"
ln -s steady "$T/vol/link"
echo canary >"$T/outside/canary"
for i in {1..40}; do echo $i >"$T/vol/a/f$i"; done
start_server -v "$T/vol:t:rw,$ME_SQUASH"

# Confined as it is by default, the server takes them; what the verbs say does not depend on them.
for verb in "ls -lR t:/" "find t:/" "cat t:/a/f7 t:/link" "du t:/"; do
	"$GOFER" $verb >"$T/without" || fail "gofer $verb"
	"$GOFER" --channels 2 --stats $verb >"$T/with" 2>"$T/stats" || fail "gofer --channels 2 $verb: $(cat "$T/stats")"
	cmp "$T/without" "$T/with" || fail "gofer --channels 2 $verb says something else"
done
"$GOFER" --channels 2 --stats stat t:/a/f1 t:/a/f2 2>"$T/stats" >/dev/null || fail "stat"
grep -q '"channels": {"open": 2, "requests": 2}' "$T/stats" || fail "no request went through a channel: $(cat "$T/stats")"
"$GOFER" --channels 65 ls t:/ 2>/dev/null && fail "65 channels"

"$prog" kill-client || fail "a killed client"
"$prog" kill-server || fail "a killed server"
# Both rewrite memory that others read: races are what they are about, so not where races are what is looked for.
if [ "${VARIANT:-plain}" != tsan ]; then
	"$prog" client -t "$time" ${SEED:+-s "$SEED"} || fail "the server does not stand a client that rewrites the area"
	"$prog" server -t "$time" ${SEED:+-s "$SEED"} || fail "libgofer does not stand a server that rewrites the area"
fi
stop_server

# None are taken: the socket serves.
start_server -v "$T/vol:t:rw,$ME_SQUASH" --max-channels 0
"$GOFER" --channels 2 --stats stat t:/a/f1 2>"$T/stats" >/dev/null || fail "without channels: $(cat "$T/stats")"
grep -q '"channels": {"open": 0, "requests": 0}' "$T/stats" || fail "$(cat "$T/stats")"
stop_server
