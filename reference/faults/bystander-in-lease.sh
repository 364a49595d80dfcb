#!/bin/bash
# expect: fail resources.budget
set -eu
# On the controller: LEASE is the machine's own directory. A machine of another run is a process with an entry of its own in
# the ledger. This one bears the mark of the subject's lease as well, so that whoever ends that lease ends it, too.
lease=${LEASE##*/}
entry=${LEASE%/leases/*}/ledger/bystander-$lease.json
# Whatever becomes of it, its entry goes with it. The mark can be seen once it speaks.
bystander='
  exec {said}< <(COLDPROOF_LEASE=$0 exec bash -c "echo \$\$; exec >/dev/null; sleep 300 & wait")
  machine=$!
  read -r pid <&$said
  stat=$(</proc/$pid/stat)
  set -- "$1" ${stat##*) }
  printf "{\"lease\":\"bystander-%s\",\"run\":\"another\",\"machine\":\"bystander\",\"created\":0,\"directories\":[],
    \"containment\":{\"kind\":\"mark\"},\"owner\":{\"pid\":%d,\"start_time\":%d,\"boot_id\":\"%s\"}}" \
    "$0" "$pid" "${21}" "$(</proc/sys/kernel/random/boot_id)" >"$1.draft"
  mv "$1.draft" "$1"
  echo there
  exec >/dev/null
  wait "$machine" || true
  rm -f "$1"
'
read -r _ < <(exec setsid bash -c "$bystander" "$lease" "$entry" </dev/null 2>/dev/null)
