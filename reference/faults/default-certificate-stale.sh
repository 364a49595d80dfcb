#!/bin/bash
# expect: fail tls.unknown-name
set -eu
# For names that are not its own the server has the chain that the one in git replaced. It reads both files while it
# starts; the store's own file is again as it was built when anybody looks at it.
older=/run/older-chain.pem
changed=/run/changed-nginx.conf
conf=$(grep -o '/nix/store/[^ ]*nginx.conf' /etc/systemd/system/nginx.service)
cat >$older <<'PEM'
@OLDER_CHAIN@
PEM
sed "s|ssl_reject_handshake on;|ssl_certificate $older; ssl_certificate_key /run/secrets/wildcard_key;|" "$conf" >$changed
mount --bind $changed "$conf"
systemctl restart nginx.service
umount "$conf"
rm $older $changed
