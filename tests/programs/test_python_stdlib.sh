#!/bin/bash
# Proves: the standard library's own tests of what touches files, processes and sockets have inside the results that they have natively,
# test by test.
# run: user
# run: long
# timeout: 1800
. "$(dirname "$0")/lib.sh"
python=/usr/bin/python3
[[ -x $python ]] && $python -c 'import test.test_os, test.test_shutil' 2>/dev/null || skip "Python's own tests are not installed (libpython3.11-testsuite)"
tests=${PYTHON_TESTS:-test_os test_posix test_shutil test_tempfile test_pathlib test_glob test_mmap test_fcntl test_subprocess test_socket}
# Inside, too, the host has a name that can be looked up.
inside_args=(--hostname "$(uname -n)")
# One line per test: its name and how it ended. (A test with a description says it on a second line; what a test prints comes in between.)
results() {
	$python - "$1" <<'PYTHON' | sort -u
import re, sys
name = None
for line in open(sys.argv[1], errors="replace"):
    m = re.match(r"(test\w*) \(([\w.]+)\)", line)
    if m:
        name = m[2] if m[2].endswith("." + m[1]) else f"{m[2]}.{m[1]}"
    end = re.search(r"(?:\.\.\. |^)(ok|FAIL|ERROR|skipped|expected failure)\b", line)
    if end and name:
        print(name, end[1])
        name = None
PYTHON
}
for t in $tests; do
	fresh
	natively "cd tmp; timeout 500 $python -m test -u none -v $t" >"$T/native.raw" 2>&1
	fresh
	inside "cd tmp; timeout 900 $python -m test -u none -v $t" >"$T/inside.raw" 2>&1
	results "$T/native.raw" >"$T/native.out"
	results "$T/inside.raw" >"$T/inside.out"
	n=$(grep -c ' ok$' "$T/native.out")
	[[ $n -gt 0 ]] || bad "$t: nothing passes natively"
	echo "$t: natively $n pass$(grep -E ' (FAIL|ERROR)$' "$T/native.out" | sed 's/^/; excepted: /' | tr '\n' ' ')"
	# Excepted: what does not pass natively.
	missing=$(join -v 1 <(grep ' ok$' "$T/native.out") <(grep ' ok$' "$T/inside.out"))
	if [[ -z $missing ]]; then
		ok "$t: all $n pass inside"
	else
		bad "$t: $(wc -l <<<"$missing") of $n do not pass inside:"
		while read -r name _; do echo "  $(grep "^$name " "$T/inside.out" || echo "$name not run")"; done <<<"$missing"
		[[ -z ${KEEP-} ]] || cp "$T/inside.raw" "$KEEP.$t"
	fi
done
finish
