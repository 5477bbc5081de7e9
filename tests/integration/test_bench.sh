#!/bin/bash
# gofer bench has a row for every RPC, measures each row that it lists, beside native calls, and leaves nothing behind. Nothing is said about speed.
# timeout: 300
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || skip "no python3"
export TMPDIR=$T/tmp
mkdir "$TMPDIR"

# ---- every RPC of the protocol has a row ----
"$GOFER" bench --list >"$T/rows" || fail "bench --list"
"$GOFER" serve -v "$TMPDIR:t:ro,$ME_SQUASH" --run "$GOFER rpc --list" >"$T/rpcs" 2>"$T/err" || fail "rpc --list: $(cat "$T/err")"
while read -r rpc _; do
	grep -qE "^latency/$rpc(/1)?\$" "$T/rows" || fail "no row for the RPC $rpc: client/bench/calls_path.c or calls_handle.c"
done <"$T/rpcs"
[ "$(wc -l <"$T/rpcs")" -gt 20 ] || fail "rpc --list: $(cat "$T/rpcs")"

# ---- what a run prints ----
check() { # file, native: yes or no, words of the rows that may be missing in a quick run
	/usr/bin/python3 - "$T/rows.wanted" "$@" <<'END' || fail "the rows of $1"
import json, sys
wanted = [line.strip() for line in open(sys.argv[1])]
lines = [json.loads(line) for line in open(sys.argv[2])]
native = sys.argv[3] == "yes"
machine, rows = lines[0], lines[1:]
assert machine["native"] == native and machine["cpus"] > 0, machine
names = [row["group"] + "/" + row["row"] for row in rows]
assert names == wanted, set(names) ^ set(wanted)
# What a server, or a file system, may not have.
optional = ("latency/SetIdentity", "latency/Channel", "latency/Connect", "latency/GetXattr", "latency/SetXattr", "latency/ListXattr", "latency/RemoveXattr",
            "latency/Watch", "latency/Open-donated", "data/read-1M-donated", "data/write-1M-donated", "data/read-4K-donated")
def histogram(h, what):
	assert h["n"] > 0, what
	assert 0 <= h["min_us"] <= h["p50_us"] <= h["p90_us"] <= h["p99_us"] <= h["p999_us"] <= h["max_us"] < 600e6, (what, h)
	assert h["min_us"] <= h["mean_us"] <= h["max_us"], (what, h)
for name, row in zip(names, rows):
	if "skipped" in row:
		assert name.startswith(optional) and row["skipped"], row
		continue
	group = row["group"]
	if group == "latency":
		histogram(row, name)
		if native and row["rpc"] not in ("Hello", "Channel", "SetIdentity", "Cancel", "Ping", "Leave", "Stats", "Watch"):
			histogram(row["native"], name)
			assert row["ratio"] > 0, row
		if native and row["rpc"] not in ("Hello", "Channel", "Close"):
			histogram(row["ping"], name)
			assert 0 < row["request_bytes"] < 65536 and 0 < row["reply_bytes"] < 65536, row
		if native and name in ("latency/Stat/8", "latency/ReadFile/1"):
			histogram(row["toy"], name)
		assert ("native" in row) <= native and ("ping" in row) <= native, row
	elif group in ("threads", "sessions", "data", "small", "list"):
		assert row["amount"] > 0 and row["seconds"] > 0 and row["per_second"] > 0, row
		assert ("native_per_second" in row) == native, row
		if "calls" in row:
			histogram(row["calls"], name)
	elif row["row"] in ("session", "handle"):
		assert row["count"] >= 1 and abs(row["process_bytes"]) < 1 << 30, row
	if group != "memory":
		assert row["client_cpu_us"] >= 0 and row["server_cpu_us"] >= 0 and row["server_switches"] >= 0, row
END
}
"$GOFER" bench --list --quick >"$T/rows.wanted" || fail "bench --list --quick"
"$GOFER" bench --quick --time 0.001 --json >"$T/json" 2>"$T/err" || fail "bench: $(cat "$T/err")"
[ ! -s "$T/err" ] || fail "bench: $(cat "$T/err")"
check "$T/json" yes
[ -z "$(ls -A "$TMPDIR")" ] || fail "left behind: $(ls -A "$TMPDIR")"

# ---- a server that was there, natively reached and not; in both forms ----
mkdir -p "$T/vol/below"
echo mine >"$T/vol/below/file"
start_server -v "$T/vol:t:rw,$ME_SQUASH" -v "$TMPDIR:r:ro,$ME_SQUASH"
only='latency/Stat*,latency/Mkdir/*,threads/8,small/*,list/100'
"$GOFER" bench --list --quick --only "$only" >"$T/rows.wanted" || fail "bench --list --only"
"$GOFER" bench --quick --time 0.001 --only "$only" --json --native "$T/vol/below" t:/below >"$T/json" 2>"$T/err" || fail "bench: $(cat "$T/err")"
check "$T/json" yes
"$GOFER" bench --quick --time 0.001 --only "$only" --json >"$T/json" 2>"$T/err" || fail "bench: $(cat "$T/err")"
check "$T/json" no
"$GOFER" bench --quick --time 0.001 --only "$only" >"$T/text" 2>"$T/err" || fail "bench: $(cat "$T/err")"
while IFS=/ read -r group row; do
	grep -q "^$group: " "$T/text" && grep -q "^$row  *[0-9]" "$T/text" || fail "no line for $group/$row: $(cat "$T/text")"
done <"$T/rows.wanted"

# ---- what cannot be, with the reason, and nothing left behind ----
refused() { # status, word, arguments
	local status=$1 word=$2
	shift 2
	"$GOFER" bench --quick --time 0.001 "$@" >"$T/out" 2>"$T/err"
	[ $? -eq "$status" ] && grep -q "$word" "$T/err" || fail "bench $*: not $status, '$word': $(cat "$T/err")"
}
refused 1 'not what the server serves' --native "$T" t:/below
refused 1 'Read-only' r:/
refused 1 'No such file' t:/nothing
refused 1 'no such volume' x:/
refused 2 'no row is called' --only nothing
refused 2 'no number of seconds' --time 0
refused 2 'no number of seconds' --time nan
refused 2 'extra operand' t:/ t:/

# ---- interrupted: the row ends, what is there has been printed, and all is removed ----
for signal in INT:130 TERM:143; do
	mkfifo "$T/fifo"
	"$GOFER" bench --time 3600 --only 'latency/Ping,latency/Stat/*' --json t:/below >"$T/fifo" 2>"$T/err" &
	pid=$!
	exec 9<"$T/fifo"
	read -r -t 60 -u 9 _ || fail "bench did not begin: $(cat "$T/err")"
	kill -"${signal%:*}" "$pid"
	cat <&9 >"$T/json"
	exec 9<&-
	wait "$pid"
	[ $? -eq "${signal#*:}" ] || fail "bench, interrupted: not ${signal#*:}: $(cat "$T/err")"
	grep -q interrupted "$T/err" || fail "bench, interrupted: $(cat "$T/err")"
	# None where it came before the row began; never the next one.
	case $(cut -d'"' -f8 "$T/json" | tr '\n' ' ') in "" | "Ping ") ;; *) fail "bench, interrupted: $(cat "$T/json")" ;; esac
	rm "$T/fifo"
done
stop_server
GOFER_SERVER=$GOFER_SERVER "$GOFER" bench --quick >"$T/out" 2>"$T/err" && fail "without a server"
grep -q 'cannot reach the server' "$T/err" || fail "without a server: $(cat "$T/err")"
[ "$(cd "$T/vol" && find . | sort | tr '\n' ' ')" = ". ./below ./below/file " ] || fail "left behind: $(cd "$T/vol" && find .)"
