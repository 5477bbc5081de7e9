#!/bin/bash
# A client in Python, written from PROTOCOL.md alone, against the real server.
# shellcheck source=tests/integration/lib.sh
. "${SRC:-$(dirname "$0")/../..}/tests/integration/lib.sh"

[ -e "$BUILD/gen/gofer_pb2.py" ] || fail "$BUILD/gen/gofer_pb2.py is not built"
/usr/bin/python3 -c 'import google.protobuf' 2>/dev/null || skip "python3-protobuf is not installed"

vol=$T/vol
mkdir -p "$vol"/{dir/sub,a,c,x,many}
echo "hello world" >"$vol/dir/file"
ln -s ../c "$vol/a/link"
ln -s /etc/passwd "$vol/c/b"
for ((i = 0; i < 200; i++)); do : >"$vol/many/n"$'\n'"$i"; done
ln -s ../dir/file "$vol/many/to-file"

start_server -v "$vol:t:rw,donate=always,$ME_SQUASH"
/usr/bin/python3 "${SRC:-$here}/tests/interop/client.py" "$T/sock" t "$BUILD/gen" || fail "the Python client"
stop_server
