#!/bin/busybox sh
# The first program of the machine: finds the root disk and hands over to its /sbin/init.
# A module's devices are there once insmod returns, so there is nothing to wait for.
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
for module in /modules/*.ko; do busybox insmod "$module"; done
if ! busybox mount -t ext4 /dev/vda /root; then
    echo 'coldproof: the root disk /dev/vda cannot be mounted' >/dev/console
    exit 1 # the kernel panics, which the controller sees
fi
for directory in dev proc sys; do busybox mount --move /$directory /root/$directory; done
exec busybox switch_root /root /sbin/init
