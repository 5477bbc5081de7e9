#!/bin/bash
# timeout: 240
# TLS over TCP: who gets in and who does not, in what words, and what is held by which process.
. "$(dirname "$0")/lib.sh"

command -v openssl >/dev/null || skip "openssl is not installed"
/usr/bin/python3 -c 'import ssl; assert ssl.HAS_TLSv1_3' 2>/dev/null || skip "python3 has no TLS 1.3"
mkdir "$T/ca" "$T/v" "$T/w" && echo content >"$T/v/file" && echo other >"$T/w/file" || exit 1
cd "$T/ca" || exit 1
umask 077

ssl() { openssl "$@" >"$T/ssl.log" 2>&1 || fail "openssl $*: $(cat "$T/ssl.log")"; }
key() { ssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }
authority() { # DIR
	mkdir -p "$1" && : >"$1/index.txt" && echo 01 >"$1/serial" && echo 01 >"$1/crlnumber" || exit 1
	key "$1/ca.key"
	ssl req -x509 -new -key "$1/ca.key" -subj "/CN=authority $1" -days 3650 -out "$1/ca.pem" \
		-addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
	cat >"$1/ca.conf" <<-END
		[ca]
		default_ca = d
		[d]
		database = $1/index.txt
		serial = $1/serial
		crlnumber = $1/crlnumber
		new_certs_dir = $1
		certificate = $1/ca.pem
		private_key = $1/ca.key
		default_md = sha256
		default_days = 3650
		default_crl_days = 3650
		unique_subject = no
		policy = p
		[p]
		commonName = optional
		organizationName = optional
	END
}
sign() { # DIR NAME SUBJECT EXTENSIONS [OPTIONS OF openssl ca]
	local dir=$1 name=$2 subject=$3
	printf '%s\n' "$4" >"$T/ext"
	shift 4
	key "$name.key"
	ssl req -new -key "$name.key" -subj "$subject" -out "$T/csr"
	ssl ca -batch -notext -preserveDN -config "$dir/ca.conf" -extfile "$T/ext" -in "$T/csr" -out "$name.pem" "$@"
}
SERVER="extendedKeyUsage=serverAuth"
CLIENT="extendedKeyUsage=clientAuth"
past=(-startdate 20200101000000Z -enddate 20210101000000Z)
future=(-startdate 20990101000000Z -enddate 20991231000000Z)

authority main
authority stranger
sign main server "/CN=server" "subjectAltName=DNS:localhost,IP:127.0.0.1
$SERVER"
sign main server-old "/CN=server" "subjectAltName=DNS:localhost
$SERVER" "${past[@]}"
sign main server-early "/CN=server" "subjectAltName=DNS:localhost
$SERVER" "${future[@]}"
sign main server-cn "/CN=localhost" "subjectAltName=DNS:other.example
$SERVER"
sign main server-noname "/CN=localhost" "$SERVER"
sign main server-revoked "/CN=server" "subjectAltName=DNS:localhost
$SERVER"
sign main server-client "/CN=server" "subjectAltName=DNS:localhost
$CLIENT"
sign stranger server-stranger "/CN=server" "subjectAltName=DNS:localhost
$SERVER"
key server-self.key
ssl req -x509 -new -key server-self.key -subj "/CN=localhost" -days 3650 -addext "subjectAltName=DNS:localhost" -out server-self.pem
sign main alice "/O=Lab/CN=alice" "$CLIENT"
sign main bob "/CN=bob" "subjectAltName=DNS:bob.example
$CLIENT"
sign main old "/CN=old" "$CLIENT" "${past[@]}"
sign main early "/CN=early" "$CLIENT" "${future[@]}"
sign main revoked "/CN=revoked" "$CLIENT"
sign main wrong-use "/CN=alice,O=Lab" "$SERVER"
sign stranger stranger-alice "/O=Lab/CN=alice" "$CLIENT"
key self.key
ssl req -x509 -new -key self.key -subj "/O=Lab/CN=alice" -days 3650 -out self.pem
ssl ca -config main/ca.conf -revoke revoked.pem
ssl ca -config main/ca.conf -revoke server-revoked.pem
ssl ca -config main/ca.conf -gencrl -out crl.pem
chmod 644 ./*.pem main/ca.pem

# What people try first.
src=${SRC:-$here}
"$src/scripts/make-certs" "$T/trial" localhost me you >"$T/out" || fail "make-certs"
grep -q 'gofer ls --server tls:localhost:4480 .*/me.key' "$T/out" || fail "make-certs says: $(cat "$T/out")"
"$GOFER" serve -q -v "$T/v:v:$ME_SQUASH" --listen tls:localhost:0 --tls-cert "$T/trial/server.pem" --tls-key "$T/trial/server.key" \
	--tls-client-ca "$T/trial/ca.pem" -- "$GOFER" cat v:/file --tls-ca "$T/trial/ca.pem" --tls-cert "$T/trial/you.pem" \
	--tls-key "$T/trial/you.key" >"$T/out" || fail "with make-certs' certificates"
[ "$(cat "$T/out")" = content ] || fail "with make-certs' certificates: $(cat "$T/out")"

/usr/bin/python3 "$src/tests/integration/tls.py" "$GOFER" "$T" || fail "tls.py"
