#!/bin/bash
# expect: fail teardown.clean
set -eu
# On the controller: LEASE is the machine's own directory. A mount alone can be detached while it is busy; the
# mount point below it is immutable, which keeps even root from removing it.
point=$LEASE/busy
mkdir "$point"
chattr +i "$point"
mount -t tmpfs tmpfs "$point"
# When the ledger entry is written anew, the removal was tried and failed: it becomes an ordinary directory again, and
# the lease ends here, so that a run with this fault leaves nothing either.
entry=${LEASE%/leases/*}/ledger/${LEASE##*/}.json
ln "$entry" "$entry.before"
setsid --fork bash -c '
  for _ in {1..3000}; do [[ $1 -ef $2 ]] || break; sleep 0.1; done
  umount "$0"; chattr -i "$0"; rm -rf "${0%/*}" "$2"; rm -f "$1"
' "$point" "$entry" "$entry.before" </dev/null >/dev/null 2>&1
