#!/bin/bash
# Every verb through a stream of bytes, which passes no descriptors: what it prints and does is the same.
GOFER_TEST_TRANSPORT=unix-stream exec "$(dirname "$0")/test_cli_verbs.sh"
