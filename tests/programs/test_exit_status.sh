#!/bin/bash
# Proves: the exit status of gofer run is that of the command, 128 + n after a signal, 127 and 126 as a shell has it, 125 for our own
# failures; bad input is one line that says what and what to do, and nothing is run.
. "$(dirname "$0")/lib.sh"
fresh
status() { # expected, what, arguments of gofer run
	local got
	"$GOFER" run "${@:3}" >"$T/out" 2>"$T/err" </dev/null
	got=$?
	[[ $got == "$1" ]] && ok "$2: $got" || { bad "$2: $got instead of $1"; head -n 5 "$T/err" | sed 's/^/  /'; }
}
for n in 0 1 7 125 126 127 128 255; do status $n "exit $n" -- sh -c "exit $n"; done
for s in HUP INT QUIT KILL TERM SEGV USR1; do status $((128 + $(kill -l $s))) "SIG$s" -- sh -c "kill -$s \$\$"; done
status 127 "no such command in PATH" -- there-is-no-such-command
status 127 "no such file" -- /there/is/no/such/file
status 127 "no such file, relative" -- ./missing
status 126 "a directory" -- /usr
status 126 "not executable" -- /etc/passwd
status 127 "PATH of --env" --env PATH=/nowhere -- ls

refused() { # words of the message, arguments
	status 125 "${@:2}"
	if [[ $(wc -l <"$T/err") != 1 ]] || ! grep -qiE -- "$1" "$T/err" || [[ -s $T/out ]]; then
		bad "$2: not one line with '$1':"
		head -n 5 "$T/err" "$T/out" | sed 's/^/  /'
	fi
}
mkdir "$W/v"
refused "$W/nothing" "a volume that does not exist" -v "$W/nothing:/v" -- echo ran
refused "" "a volume that is a file" -v "/etc/passwd:/v" -- echo ran
refused "" "a volume without GUEST" -v "$W/v:" -- echo ran
refused "" "GUEST that is not absolute" -v "$W/v:relative" -- echo ran
refused "" "an unknown option of a volume" -v "$W/v:$W/v:rw,nonsense" -- echo ran
refused "" "ro and rw" -v "$W/v:$W/v:ro,rw" -- echo ran
refused "" "two volumes at one place" -v "$W/v:/v" -v "$W/v:/v" -- echo ran
refused "" "a mount point that a read-only volume lacks" -v "$W/v:/usr/gofer-test-missing" -- echo ran
refused "" "no command" -v "$W/v:$W/v"
refused "" "an unknown option" --nonsense -- echo ran
refused "" "an unknown network" --net some -- echo ran
refused "" "an unknown layer" --require nonsense -- echo ran
refused "" "a directory to start in that is not there" --chdir /there/is/nothing -- echo ran
refused "" "an audit file that cannot be made" --audit /there/is/nothing -- echo ran
refused "" "a status descriptor that is not open" --json-status-fd 99 -- echo ran
refused "" "a root that does not exist" --root /there/is/nothing -- echo ran
finish
