#!/usr/bin/env python3
"""Makes a directory tree that copying programs get wrong: tree.py DIR FILES

FILES regular files (small ones, a few large), one symbolic link for every hundred (relative, absolute, dangling), and in
proportion: sparse files (holes at the start, in the middle, at the end), hard links, extended attributes, empty files and
directories, deep directories, names with newlines, invalid UTF-8, leading dashes and 255 bytes, odd modes, old and precise
times. The same arguments make the same tree.
"""
import os
import random
import sys

top, files = os.fsencode(sys.argv[1]), int(sys.argv[2])
rng = random.Random(files)
block = bytes(rng.getrandbits(8) for _ in range(1 << 16))
odd = [b"new\nline", b"bad\xff\xfeutf8", b"-rf", b" space ", b"tab\there", b"esc\x1b[31m", b"quote'\"`$", b"back\\slash",
       b"*?[x]", b"\xc3\xa4\xe2\x82\xac", b"%s%n", b"..."]
dirs = [top]
os.mkdir(top)
xattrs = True


def make_dir(path):
    os.mkdir(path)
    dirs.append(path)


for i in range(max(4, files // 100)):
    make_dir(os.path.join(rng.choice(dirs[:50]), b"dir-%d" % i))
for i, name in enumerate(odd):
    make_dir(os.path.join(top, name))
deep = top
for i in range(60):
    deep = os.path.join(deep, b"deep-%d" % i)
    make_dir(deep)
for i in range(10):
    os.mkdir(os.path.join(top, b"empty-%d" % i))
os.mkdir(os.path.join(top, b"n" * 255))

made = []
for i in range(files):
    kind = i % 100
    name = b"file-%d" % i
    if kind < len(odd):
        name = odd[kind] + b"-%d" % i
    elif kind == 20:
        name = (b"%d-" % i).ljust(255, b"x")
    path = os.path.join(rng.choice(dirs), name)
    if kind == 50 and made:
        os.link(rng.choice(made), path)
        continue
    with open(path, "wb") as f:
        if kind == 51:  # hole, data, hole
            f.seek(1 << 20)
            f.write(block[:5000])
            f.truncate(3 << 20)
        elif kind == 52:  # nothing but a hole
            f.truncate(1 << 20)
        elif kind == 53 and i % 1000 == 53:
            for _ in range(48):
                f.write(block)
        elif kind != 54:  # 54: empty
            n = rng.randrange(1, 3000)
            at = rng.randrange(0, len(block) - n)
            f.write(block[at:at + n])
    if kind == 55 and xattrs:
        try:
            os.setxattr(path, b"user.colour", b"blue\0green")
            os.setxattr(path, b"user.empty", b"")
        except OSError:
            xattrs = False
    os.chmod(path, rng.choice([0o644, 0o600, 0o755, 0o444, 0o640, 0o664]))
    os.utime(path, ns=(rng.randrange(0, 2 * 10**18), rng.randrange(0, 2 * 10**18)))
    made.append(path)
for i in range(max(10, files // 100)):
    target = [b"file-1", b"/absolute/%d" % i, b"../" * (i % 5) + b"dir-0", b"dangling\n\xff"][i % 4]
    os.symlink(target, os.path.join(rng.choice(dirs), b"link-%d" % i))
for path in dirs[1:]:
    if rng.randrange(5) == 0:
        os.chmod(path, rng.choice([0o700, 0o750, 0o555 if path != deep else 0o755, 0o775]))
    os.utime(path, ns=(10**18, rng.randrange(10**18, 2 * 10**18)))
print(f"{len(made)} files, {files // 100} hard links, {max(10, files // 100)} symbolic links, {len(dirs) + 11} directories"
      + ("" if xattrs else ", no user xattrs here"))
