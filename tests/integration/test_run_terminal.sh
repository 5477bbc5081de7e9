#!/bin/bash
# `gofer run` at a terminal: keys, job control inside and outside, pipelines, and the terminal given back.
# shellcheck source=tests/integration/lib.sh
. "${SRC:-$(dirname "$0")/../..}/tests/integration/lib.sh"

/usr/bin/python3 -c '' 2>/dev/null || skip "python3 is not installed"
"$GOFER" run --explain --json >explain.json 2>&1 || [ $? -eq 1 ] || fail "$(cat explain.json)"
grep -q '"mount":{"holds":true' explain.json || skip "no mount namespaces here"
/usr/bin/python3 -B "${SRC:-$here}/tests/integration/run_terminal.py" "$GOFER" || fail run_terminal.py
ls -d "${TMPDIR:-/tmp}"/gofer-run-* 2>/dev/null && fail "a private directory stayed"
exit 0
