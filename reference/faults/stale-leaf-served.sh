#!/bin/bash
# expect: fail tls.leaf-equals-git
set -eu
# The server reads the older chain while it starts; the file itself is again as it was when anybody looks at it.
older=/run/older-chain.pem
served=$(readlink -f /run/secrets/wildcard_cert)
cat >$older <<'PEM'
@OLDER_CHAIN@
PEM
mount --bind $older "$served"
systemctl restart nginx.service
umount "$served"
rm $older
