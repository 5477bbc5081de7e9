#!/bin/bash
# gofer shell at a terminal: what is completed is one word, quoted, and no control character of a name gets out; history is its owner's; Ctrl-C
# ends the line or the verb, Ctrl-D the shell.
# shellcheck source=tests/integration/lib.sh
. "${SRC:-$(dirname "$0")/../..}/tests/integration/lib.sh"

/usr/bin/python3 -c '' 2>/dev/null || skip "python3 is not installed"
mkdir "$T/vol"
start_server -v "$T/vol:v:rw,$ME_SQUASH"
XDG_STATE_HOME=$T/state timeout 110 /usr/bin/python3 -B "${SRC:-$here}/tests/integration/shell_terminal.py" "$GOFER" "$T/vol" || fail shell_terminal.py
stop_server
