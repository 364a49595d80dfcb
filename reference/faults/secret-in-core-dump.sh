#!/bin/bash
# expect: fail leaks.none
set -eu
pattern=$(</proc/sys/kernel/core_pattern)
echo core >/proc/sys/kernel/core_pattern
mkdir -p /var/crash
cd /var/crash
(ulimit -c unlimited; exec bash -c 'token=$(</run/secrets/bridge_token); kill -SEGV $$') || true
echo "$pattern" >/proc/sys/kernel/core_pattern
compgen -G 'core*'
