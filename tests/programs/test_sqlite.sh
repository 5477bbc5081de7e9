#!/bin/bash
# Proves: SQLite with a write-ahead log works between two processes on a served directory: locks, shared memory, checkpoints.
# run: user
. "$(dirname "$0")/lib.sh"
need sqlite3 python3
works "one process" 'sqlite3 db "PRAGMA journal_mode=WAL; CREATE TABLE t(a INTEGER PRIMARY KEY, b); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<5000) INSERT INTO t SELECT n, n*n FROM c; SELECT count(*), sum(b) FROM t; PRAGMA integrity_check; PRAGMA wal_checkpoint(TRUNCATE);"; ls; sqlite3 db .dump | md5sum'
works "a rollback journal" 'for m in DELETE TRUNCATE PERSIST MEMORY; do sqlite3 $m "PRAGMA journal_mode=$m; CREATE TABLE t(a); INSERT INTO t VALUES(1),(2); BEGIN; DELETE FROM t; ROLLBACK; SELECT count(*) FROM t; VACUUM;"; done; ls'
cat >"$T/two.py" <<'PYTHON'
import os, sqlite3, sys
db = sqlite3.connect("db", timeout=60, isolation_level=None)
print(db.execute("PRAGMA journal_mode=WAL").fetchone()[0])
db.execute("CREATE TABLE t(who INTEGER, n INTEGER)")
db.close()
children = []
sys.stdout.flush()
for who in range(2):
    pid = os.fork()
    if pid == 0:
        db = sqlite3.connect("db", timeout=60, isolation_level=None)
        for n in range(300):
            db.execute("BEGIN IMMEDIATE")
            most = db.execute("SELECT coalesce(max(n), 0) FROM t").fetchone()[0]
            db.execute("INSERT INTO t VALUES(?, ?)", (who, most + 1))
            db.execute("COMMIT")
            if n % 50 == 0:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        os._exit(0)
    children.append(pid)
for pid in children:
    print("status", os.waitpid(pid, 0)[1])
db = sqlite3.connect("db")
print(db.execute("SELECT count(*), count(DISTINCT n), min(n), max(n) FROM t").fetchone())
print(db.execute("SELECT who, count(*) FROM t GROUP BY who").fetchall(), db.execute("PRAGMA integrity_check").fetchone())
PYTHON
prepare() { cp "$T/two.py" .; }
works "two processes" 'python3 two.py; ls'
finish
