#!/bin/bash
# expect: fail leaks.none
set -eu
setsid bash -c 'exec -a "bridge-agent --token=$(</run/secrets/bridge_token)" sleep infinity' </dev/null >/dev/null 2>&1 &
# It is a leak once the program runs under that name.
until grep -q '^bridge-agent' /proc/$!/cmdline; do :; done
