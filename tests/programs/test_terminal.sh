#!/bin/bash
# Proves: a terminal means inside what it means natively: Ctrl-C, Ctrl-Z and job control, the window's size, raw mode, terminals of its own.
# run: user
. "$(dirname "$0")/lib.sh"
need python3 bash stty
fresh
clean_environment
args=(run -v "$W:$W:rw" --chdir "$W" --clearenv)
for e in "${environment[@]}"; do args+=(--env "$e"); done
(cd "$W" && env -i "${environment[@]}" TERM=xterm python3 "$SRC/tests/programs/terminal.py") >"$T/native.out" 2>&1 || bad "natively: status $?"
python3 "$SRC/tests/programs/terminal.py" "$GOFER" "${args[@]}" --env TERM=xterm -- >"$T/inside.out" 2>&1 || bad "inside: status $?"
if diff "$T/native.out" "$T/inside.out"; then ok "a terminal: $(wc -l <"$T/native.out") observations"; else bad "a terminal (< natively, > inside)"; fi
finish
