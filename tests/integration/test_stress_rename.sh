#!/bin/bash
# S16 S17 S18 S19 S22 S23 S26 S27 S28 S29: in a short race nothing escapes, and the unsafe twin does; nothing is left behind.
# timeout: 240
. "$(dirname "$0")/lib.sh"
shopt -s extglob
[ -x "$BUILD/tests/stress/twin" ] || fail "the unsafe twin is not built"
"$GOFER" stress rename --time "${SECONDS_EACH:-2}" --svg "$T/race.svg" || fail "the race, on a private tmpfs"
grep -q '</svg>' "$T/race.svg" || fail "the picture is not whole"
python3 -c 'import re, sys
dots = [float(y) for y in re.findall(r"<circle cx=\S+ cy=.([0-9.]+)", open(sys.argv[1]).read())]
panels = [{y for y in dots if y < 240}, {y for y in dots if y > 240}]
sys.exit(any(len(panel) < 5 for panel in panels))' "$T/race.svg" || fail "the picture shows nothing: $(cat "$T/race.svg")"
! compgen -G '/dev/shm/@(shipped|alone|twin|gofer-stress*)' || fail "something was left in /dev/shm"

# In a directory of the user's, without openat2.
mkdir "$T/dir"
"$GOFER" stress rename --time 1 --dir "$T/dir" --no-openat2 >"$T/out" || fail "the race in a directory: $(cat "$T/out")"
[ -z "$(ls -A "$T/dir")" ] || fail "something was left in the directory"

# Told to stop, it reports what it saw, and cleans up. It opens the picture when it begins; how long it runs then is the length of the race.
mkfifo "$T/picture"
"$GOFER" stress rename --time 1000 --dir "$T/dir" --svg "$T/picture" >"$T/out" &
exec 9<"$T/picture"
read -r -t 1 -u 9
kill -INT $!
cat <&9 >"$T/race.svg"
exec 9<&-
wait $!
grep -q interrupted "$T/out" || fail "no report after the interrupt: $(cat "$T/out")"
grep -q '</svg>' "$T/race.svg" || fail "the picture of an interrupted race is not whole"
[ -z "$(ls -A "$T/dir")" ] || fail "the interrupt left something in the directory"

# A server without guards is found out.
"$GOFER" stress rename --time 1 --gofer "$BUILD/tests/stress/twin" --json >"$T/json" && fail "a server without guards passed"
python3 -c 'import json, sys
run = json.load(open(sys.argv[1]))
sys.exit(run["ok"] or run["escapes"] == 0 or not run["evidence"] or run["failure"] != "")' "$T/json" || fail "its escapes were not reported: $(cat "$T/json")"

# What takes the guards off is in no shipped program.
nm "$BUILD/tests/stress/twin" >"$T/twin" 2>/dev/null && nm "$GOFER" >"$T/gofer" 2>/dev/null || skip "no symbols to look at here"
grep -q ' twin_resolve$' "$T/twin" || fail "the twin has lost its name"
! grep -E ' (twin_|__wrap_(fs|walk)|mutant)' "$T/gofer" || fail "the shipped command contains the twin"
