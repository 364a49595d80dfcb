#!/bin/bash
# expect: fail teardown.clean
set -eu
# On the controller: LEASE is the machine's own directory. Not even root can remove an immutable file.
left=$LEASE/left
touch "$left"
chattr +i "$left"
# It becomes an ordinary file again some time after the run, so that the lease can be reaped.
setsid --fork bash -c 'sleep 120; chattr -i "$0"' "$left" </dev/null >/dev/null 2>&1
