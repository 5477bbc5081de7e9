#!/bin/bash
# The man pages build, render without a warning, and mention every verb and every option that --help mentions.
set -euo pipefail
cd "${SRC:-$(dirname "$0")/../..}"
: "${BUILD:=$PWD/build}" "${GOFER:=$BUILD/gofer}"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0

command -v scdoc >/dev/null || {
	echo "scdoc is not installed"
	exit 77
}
for page in client/cli/man/*.scd; do
	name=$(basename "$page" .scd)
	scdoc <"$page" >"$tmp/$name"
	if command -v man >/dev/null && ! { man -l --warnings "$tmp/$name" >/dev/null 2>"$tmp/warnings" && [[ ! -s $tmp/warnings ]]; }; then
		cat "$tmp/warnings"
		bad=1
	fi
done

# Without the markup, one word a line.
sed -E 's/[*_]//g; s/:( |$)/ /g' client/cli/man/*.1.scd | tr -s '[:space:],;()=[]|' '\n' | sort -u >"$tmp/words"
"$GOFER" --help >"$tmp/help"
verbs=$(sed -nE '/^Verbs:/,/^Options/s/^  ([a-z]+) .*/\1/p' "$tmp/help")
[[ $(wc -w <<<"$verbs") -ge 25 ]] || {
	echo "only $(wc -w <<<"$verbs") verbs found in gofer --help"
	bad=1
}
for verb in $verbs; do
	grep -qx -- "$verb" "$tmp/words" || {
		echo "no man page mentions the verb $verb"
		bad=1
	}
	[[ $verb == help ]] && continue
	"$GOFER" "$verb" --help >"$tmp/help" 2>&1
	for option in $(sed -nE 's/^ {2,8}((-[A-Za-z0-9])?,? *(--[a-z0-9-]+)?).*/\1/p' "$tmp/help" | tr -s ', ' '\n' | sort -u); do
		grep -qx -e "$option" "$tmp/words" || {
			echo "no man page mentions $option of gofer $verb"
			bad=1
		}
	done
done
[[ $bad -eq 0 ]] && echo "every verb and option is in a man page"
exit $bad
