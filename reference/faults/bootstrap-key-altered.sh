#!/bin/bash
# expect: fail blank.one-secret
set -eu
# A key file may have comments, so everything works with it; but it is not what was delivered.
echo '# put here by hand' >>/var/lib/sops-nix/key.txt
