#!/bin/bash
# expect: fail identity.contents
set -eu
# A file that nothing on the host depends on, so that its bytes alone tell.
printf '\n' >>"$(readlink -f /run/current-system)/nixos-version"
