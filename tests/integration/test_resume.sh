#!/bin/bash
# Sessions that outlive their connections, for their own clients only (S120, S141, S142).
. "$(dirname "$0")/lib.sh"
mkdir "$T/v" && echo content >"$T/v/file" || exit 1
/usr/bin/python3 "${SRC:-$here}/tests/integration/resume.py" "$GOFER" "$T" || fail "resume.py"
