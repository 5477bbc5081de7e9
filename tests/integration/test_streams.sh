#!/bin/bash
# Servers that are reached over a stream of bytes: Unix stream sockets, TCP of this machine, vsock, standard input and output, ssh.
. "$(dirname "$0")/lib.sh"

mkdir "$T/v" && echo content >"$T/v/file" || exit 1
seq 200000 >"$T/large"
expect() { [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"; echo "ok: $1"; }
refused() { # what, words, command...
	local what=$1 words=$2 out
	shift 2
	if out=$(timeout 30 "$@" 2>&1); then fail "$what: went well: $out"; fi
	grep -qF -- "$words" <<<"$out" || fail "$what: said $out"
	echo "ok: $what"
}

# Everything small and something large, both ways, through whatever $GOFER_SERVER names.
use() {
	expect "$1: cat" content "$("$GOFER" cat v:/file)"
	"$GOFER" put "$T/large" v:/large && "$GOFER" get v:/large "$T/back" || fail "$1: put and get"
	cmp -s "$T/large" "$T/back" || fail "$1: another content came back"
	"$GOFER" rm v:/large && rm "$T/back" || fail "$1: rm"
	# S140: whoever comes over a stream gets no descriptors
	expect "$1: no descriptors" 0 "$("$GOFER" ls --json 2>/dev/null | grep -c '"may_donate": true')"
}

# ---- Unix stream sockets; the names are what Firecracker makes of vsock ports
export GOFER_TEST_TRANSPORT=unix-stream
start_server -v "$T/v:v:$ME_SQUASH"
use unix-stream
refused "a client of packets" "unix-stream:" "$GOFER" ls --server "unix:$T/sock"
refused "a second server" "already in use" "$GOFER" serve -v "$T/v:v" --listen "unix-stream:$T/sock"
stop_server
export GOFER_TEST_TRANSPORT=unix
start_server -v "$T/v:v:$ME_SQUASH"
refused "a client of a stream" "unix:" "$GOFER" ls --server "unix-stream:$T/sock"
stop_server
unset GOFER_TEST_TRANSPORT
"$GOFER" serve -q -v "$T/v:v:$ME_SQUASH" --listen "unix-stream:$T/v.sock_52" -- "$GOFER" cat v:/file >"$T/out" || fail "PATH_PORT"
expect "PATH_PORT" content "$(cat "$T/out")"

# ---- TCP
export T GOFER
export -f use expect fail
refused "TCP without the option" "--insecure-tcp" "$GOFER" serve -v "$T/v:v" --listen tcp:127.0.0.1:0
for host in '*' 0.0.0.0 '[::]' 192.0.2.1; do
	refused "TCP on $host" "of this machine only" "$GOFER" serve -v "$T/v:v" --insecure-tcp --listen "tcp:$host:0"
done
refused "a port that is none" "tcp:HOST:PORT" "$GOFER" serve -v "$T/v:v" --insecure-tcp --listen tcp:localhost:65536
refused "a client beyond this machine" "tls:" "$GOFER" ls --server tcp:192.0.2.1:9
refused "a port where nobody is" "refused" "$GOFER" ls --server tcp:127.0.0.1:1
"$GOFER" serve -q -v "$T/v:v:$ME_SQUASH" --insecure-tcp --listen tcp:127.0.0.1:0 -- bash -c 'use tcp' || fail "TCP"
if [ "$(id -u)" = 0 ]; then
	mkdir "$T/d" && chmod 777 "$T/d"
	# S140: whoever comes over TCP is nobody where requests run as who asks
	out=$("$GOFER" serve -q -v "$T/d:d:identity=delegate,uids=0-4294967294,gids=0-4294967294" --insecure-tcp \
		--listen tcp:127.0.0.1:0 -- "$GOFER" ls d:/ 2>&1) && fail "a delegating volume served a TCP client"
	expect "a delegating volume, over TCP" "gofer: ls: d:/: Operation not permitted" "$out"
fi

# ---- standard input and output, by ssh
mkdir "$T/bin"
cat >"$T/bin/ssh" <<'END'
#!/bin/bash
# Two pipes to the remote shell, as sshd(8) makes.
printf '%s\n' "$@" >"$T/ssh.args"
[ -z "${SSH_FAILS-}" ] || { echo "ssh: connect to host: no" >&2; exit 255; }
cat | PATH="$(dirname "$GOFER"):$PATH" sh -c "${!#}" | cat
END
chmod 755 "$T/bin/ssh"
cd "$T" && mkdir "it's; touch evil" && echo quoted >"it's; touch evil/file" || exit 1
export PATH="$T/bin:$PATH"
GOFER_SERVER="ssh:me@host.example:$T/v:v:$ME_SQUASH" use ssh
expect "ssh's arguments: the host stands alone" "me@host.example" "$(grep -A1 -x -e -- "$T/ssh.args" | tail -1)"
expect "a volume that the shell might read" quoted \
	"$("$GOFER" cat --server "ssh:host:$T/it's; touch evil:v" v:/file)"
[ ! -e evil ] || fail "the remote shell ran a volume's name"
refused "a host that is an option" "does not begin with '-'" "$GOFER" ls --server "ssh:-oProxyCommand=x:/"
refused "a host with a space" "not the name of a host" "$GOFER" ls --server "ssh:a b:/"
refused "no volume" "ssh:HOST:VOLUME" "$GOFER" ls --server "ssh:host"
SSH_FAILS=1 refused "an ssh that fails" "the server is gone" "$GOFER" ls --server "ssh:host:$T/v"
refused "no ssh" "cannot start ssh" env PATH=/nonexistent "$GOFER" ls --server "ssh:host:$T/v"
refused "--stdio and --listen" "--stdio" "$GOFER" serve --stdio -v "$T/v" --listen "unix:$T/x"

# ---- passed sockets, and vsock, for which a shell has no words
/usr/bin/python3 "${SRC:-$here}/tests/integration/streams.py" "$GOFER" "$T" || fail "streams.py"
