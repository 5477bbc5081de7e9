#!/bin/bash
# run: long
# timeout: 300
# Copies of whole trees through a stream of bytes.
GOFER_TEST_TRANSPORT=unix-stream exec "$(dirname "$0")/test_cli_copy.sh"
