#!/bin/bash
# Sockets that others hand to `gofer serve`, readiness, limits of sessions, and draining.
# shellcheck source=tests/integration/lib.sh
. "${SRC:-$(dirname "$0")/../..}/tests/integration/lib.sh"

/usr/bin/python3 -c '' 2>/dev/null || skip "python3 is not installed"
/usr/bin/python3 "${SRC:-$here}/tests/integration/serve_sockets.py" "$GOFER" "$T" || fail "serve_sockets.py"
