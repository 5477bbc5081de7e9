#!/bin/bash
# tests/SECURITY_MATRIX.md is what the tests say that they prove, and every case of the list has a test, or says why it has none.
set -euo pipefail
cd "${SRC:-$(dirname "$0")/../..}"
tests/security-matrix --check
grep '^[0-9]* cases: ' tests/SECURITY_MATRIX.md

# The check can fail: a case without a test, a test without a case, a page that is not up to date.
copy=$(mktemp -d "${TMPDIR:-/tmp}/matrix.XXXXXX")
trap 'rm -rf "$copy"' EXIT
cp -r tests "$copy/tests"
cd "$copy"
refuses() { # words
	tests/security-matrix --check >out 2>&1 && { echo "FAIL: not refused: $1"; exit 1; }
	grep -qF -- "$1" out || { cat out; echo "FAIL: not '$1'"; exit 1; }
}
known=S1 unknown=S1000 # not said here in the form that would make this script a test of them
echo "// $known: another proof" >tests/unit/test_more.c
refuses "out of date"
echo "// $unknown: a proof of nothing" >tests/unit/test_more.c
refuses "$unknown is not in"
rm tests/unit/test_more.c
printf '\n== More\n%s: an attack that nobody tried\n' "$unknown" >>tests/security-cases.txt
refuses "neither a test nor a reason to wait: $unknown"
