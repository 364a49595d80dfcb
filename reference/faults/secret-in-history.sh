#!/bin/bash
# expect: fail leaks.none
set -eu
git init --quiet --bare /var/lib/settings.git
git --git-dir=/var/lib/settings.git hash-object -w --stdin </run/secrets/bridge_token
