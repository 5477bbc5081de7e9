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
# One line per test: its name and how it ended.
results() {
	sed -nE 's/^(test\w+ \([a-zA-Z0-9_.]+\)).*/\1/p; s/.*\.\.\. (ok|FAIL|ERROR|skipped .*|expected failure|unexpected success)$/  \1/p' "$1" |
		awk '/^ / { if (name) print name, $1; name = ""; next } { name = $0 }' | sort -u
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
	grep ' ok$' "$T/native.out" >"$T/expected"
	if missing=$(join -v 1 <(sed 's/ (/(/' "$T/expected" | sort) <(sed 's/ (/(/' "$T/inside.out" | sort | grep ' ok$')) && [[ -z $missing ]]; then
		ok "$t: all $n pass inside"
	else
		bad "$t: $(wc -l <<<"$missing") of $n do not pass inside:"
		echo "$missing" | while read -r name _; do grep -F "${name%%(*} (${name#*(}" "$T/inside.out" || echo "$name: not run"; done
		[[ -z ${KEEP-} ]] || cp "$T/inside.raw" "$KEEP.$t"
	fi
done
finish
