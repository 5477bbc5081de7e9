#!/bin/bash
# A tree with everything that copying programs get wrong, out with get -r and in with put -r: identical. FILES=100000 for the long run.
FILES=${FILES:-3000} exec "$(dirname "$0")/../stress/tree.sh"
