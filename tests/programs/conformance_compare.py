#!/usr/bin/env python3
"""Compares what a conformance program printed natively and inside.

    conformance_compare.py NATIVE INSIDE

Every call must have the same result, and the lines that show what it did must be equal, except for the differences listed here, each with
its reason. Exits 1 where anything else differs.
"""
import collections, re, sys

# (why, what is called, the native result, the one inside); regular expressions that match the whole.
KNOWN = [
    ("access mode 3 (for ioctl only) is no access mode", r"open\(.*O_ACCMODE.*", r".*", r"EINVAL"),
    ("which of two reasons is told: a new name that cannot be, before what is wrong with the old one",
     r"(do_rename|do_renameat|noreplace|exchange|do_link|link_follow)\(.*, \"(|n[0-9]*)\"\)|(do_rename|noreplace|exchange|do_renameat)\(\"n[0-9]*\", .*", r"E\w+", r"ENAMETOOLONG|ENOENT"),
    ("which of two reasons is told: an argument that cannot be, before permissions and the path",
     r"(setxattr_trusted|connect|connect_dgram|open|openat2_bad|utimensat|mknod_dir)\(.*", r"EACCES|EINVAL|ENOENT|ENOTDIR|EPERM", r"EOPNOTSUPP|ECONNREFUSED|ENOENT|EINVAL"),
    ("which of two reasons is told: a read-only volume, before what the path is", r"l?(set|remove)xattr\w*\(\"lout/x\"\) ?", r"ENOTDIR", r"EROFS"),
    ("a file is made, and then there is no descriptor for it", r"open\(\"(new|missing)\",.*", r"EMFILE", r"EMFILE|ENOENT"),
]


def groups(path):
    """[(call, result, [lines that belong to it])]"""
    out = []
    for line in open(path, errors="surrogateescape"):
        line = line.rstrip("\n")
        if line.startswith("  ") and out:
            out[-1][2].append(line)
        else:
            call, _, result = line.rpartition(" = ")
            # What a call on one path gave stands between the path and the "=".
            out.append((call if call else line, result, []))
    return out


native, inside = groups(sys.argv[1]), groups(sys.argv[2])
used = collections.Counter()
wrong = 0
if len(native) != len(inside):
    print(f"natively {len(native)} calls, inside {len(inside)}")
    wrong = 1
for a, b in zip(native, inside):
    if a == b:
        continue
    for why, call, ra, rb in KNOWN:
        # Where the known difference is one of errors, nothing may have been done.
        if re.fullmatch(call, re.sub(r"\) [^=]*$", ")", a[0])) and re.fullmatch(ra, a[1]) and re.fullmatch(rb, b[1]):
            used[why] += 1
            break
    else:
        wrong += 1
        if wrong <= 40:
            print(f"natively {a[0][:100]} = {a[1]} {a[2]}")
            print(f"inside   {b[0][:100]} = {b[1]} {b[2]}")
print(f"{len(native)} calls, {sum(used.values())} with known differences, {wrong} with others")
for why, n in used.most_common():
    print(f"  {n:4d} {why}")
sys.exit(wrong > 0)
