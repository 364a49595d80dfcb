#!/bin/bash
# Boots this generation: activates it (the secrets live in RAM and are gone), then hands over to systemd.
systemConfig=@out@
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
mount -o remount,rw /
[[ -c /dev/null ]] || mount -t devtmpfs devtmpfs /dev
[[ -e /proc/self ]] || mount -t proc proc /proc
# udev would make this link only later, and bash needs it for process substitution.
[[ -e /dev/fd ]] || ln -s /proc/self/fd /dev/fd
# systemd keeps a /run that is already mounted, and with it the secrets.
mountpoint -q /run || mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /run
"$systemConfig/activate"
ln -sfn "$systemConfig" /run/booted-system
exec /usr/lib/systemd/systemd "$@"
