#!/bin/bash
# Proves: tar, rsync, find and rm -rf of 50,000 files do inside what they do natively.
# run: user
# run: long
# timeout: 1200
. "$(dirname "$0")/lib.sh"
need tar rsync find
files=${MANY_FILES:-50000}
works "make, find, tar, rsync, rm -rf of $files files" "set -e
	mkdir t; cd t; for d in \$(seq $((files / 500))); do mkdir d\$d; (cd d\$d; seq 500 | split -l 1 -a 4 - f); done; cd ..
	find t -type f | wc -l; find t -type f -name '*a' | sort | md5sum; find t -newer t -type d | wc -l; du -s --apparent-size --inodes t
	tar cf - t | tar xf - -C tmp; diff -rq t tmp/t; rsync -a t/ r/; rsync -ain t/ r/; chmod -R go-w r; touch r/d1/faaaa; rsync -a -i --delete r/ t/ | sort
	cp -al t l; find l -links 2 -type f | wc -l; rm -rf l r tmp/t; find t | sort | md5sum; rm -rf t; ls"
finish
