#!/bin/bash
# expect: fail leaks.none
set -eu
TOKEN=$(</run/secrets/bridge_token) setsid sleep infinity </dev/null >/dev/null 2>&1 &
# It is a leak once the program runs.
until [[ $(</proc/$!/comm) == sleep ]]; do :; done
