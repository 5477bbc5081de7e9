#!/bin/bash
# Every RPC of the table has its section in PROTOCOL.md, with its number, its reply, and the marks that the table gives it; and no
# section speaks of an RPC that does not exist.
set -euo pipefail
cd "${SRC:-$(dirname "$0")/../..}"

python3 - <<'PY'
import re, sys
table = {}
for m in re.finditer(r"^RPC\((\w+), (\w+), (\d+), (\w+), ([^)]*)\)", open("proto/rpc.def").read(), re.M):
    table[m[1]] = (int(m[3]), "".join(p.title() for p in m[4].split("_")), set(re.findall(r"RPC_(\w+)", m[5])))
text = open("proto/PROTOCOL.md").read()
proto = open("proto/gofer.proto").read()
sections = {m[1]: (int(m[2]), m[3]) for m in re.finditer(r"^### (\w+) \((\d+)\)\n(.*?)(?=^##)", text, re.M | re.S)}
errors = [f"{n}: no section" for n in table.keys() - sections.keys()]
errors += [f"{n}: a section, but no RPC" for n in sections.keys() - table.keys()]
marks = {"WRITES": "writes", "FOLLOW": "follows", "DONATES": "donates", "TAKES_FD": "takes a descriptor", "DATA_IN": "payload",
         "IDEMPOTENT": "idempotent", "CONTROL": "control"}
for name in table.keys() & sections.keys():
    number, reply, flags = table[name]
    got, body = sections[name]
    if got != number:
        errors.append(f"{name}: number {got}, in the table {number}")
    if not re.match(rf"\s*Reply `{reply}`", body):
        errors.append(f"{name}: does not begin with its reply `{reply}`")
    said = re.search(r"Marks: (.*?)\.", body, re.S)
    for flag, word in marks.items():
        if (flag in flags) != bool(said and re.search(rf"\b{word}\b", said[1])) and not (name == "Open" and word == "writes"):
            errors.append(f"{name}: the mark '{word}' differs from the table's {sorted(flags)}")
    fields = re.search(rf"^message {name}Request \{{(.*?)\}}", proto, re.M | re.S)
    if not fields:
        errors.append(f"{name}: no message {name}Request")
if len(table) < 30:
    errors.append(f"only {len(table)} rows were found in rpc.def")
print("\n".join(sorted(errors)) or f"{len(table)} RPCs, each with its section")
sys.exit(bool(errors))
PY
