#!/bin/sh
# Turns an unpacked Debian tree into the blank machine: nothing enabled but the network, nothing that
# names a machine, and nothing started that a throwaway guest never needs.
# usage: customise.sh ROOT        (on the controller, as the tree's root user)
set -eu
root=$1
units=$root/etc/systemd/system

# 1. Modules are loaded by an emulated processor: unpack them once here, not at each boot.
find "$root/usr/lib/modules" -name '*.ko.xz' -print0 | xargs -0 -P2 -n64 xz -d
chroot "$root" depmod "$(ls "$root/usr/lib/modules")"

# 2. No unit is enabled but these: a package's own services wait for the host's configuration.
rm -rf "$units"/*.wants "$units"/dbus-org.* "$units"/sshd.service
enable() { mkdir -p "$units/$2.wants" && ln -s "$3/$1" "$units/$2.wants/$1"; }
enable coldproof-console.service sysinit.target ..
enable systemd-networkd.service multi-user.target /usr/lib/systemd/system
enable systemd-growfs-root.service multi-user.target /usr/lib/systemd/system
ln -sfn /usr/lib/systemd/system/multi-user.target "$units/default.target"

# 3. Seconds of an emulated boot that serve nobody here.
mask() { for unit; do ln -sfn /dev/null "$units/$unit"; done; }
mask getty.target serial-getty@hvc0.service serial-getty@ttyS0.service systemd-ask-password-wall.path \
    systemd-ask-password-console.path
mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    systemd-tmpfiles-clean.timer
mask dev-hugepages.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount \
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount
mask kmod-static-nodes.service ldconfig.service modprobe@configfs.service modprobe@drm.service \
    modprobe@efi_pstore.service modprobe@fuse.service systemd-binfmt.service systemd-hwdb-update.service \
    systemd-journal-catalog-update.service systemd-journal-flush.service systemd-modules-load.service \
    systemd-networkd-persistent-storage.service systemd-pstore.service systemd-random-seed.service \
    systemd-sysusers.service systemd-udev-load-credentials.service systemd-update-done.service \
    systemd-update-utmp.service
generators=$root/etc/systemd/system-generators
mkdir -p "$generators"
for path in "$root"/usr/lib/systemd/system-generators/*; do
    case ${path##*/} in
        systemd-debug-generator | systemd-fstab-generator) ;;
        *) ln -sfn /dev/null "$generators/${path##*/}" ;;
    esac
done

# 4. Nothing that two machines would share. An empty machine-id is filled at boot without being
#    taken for a first boot, which would enable every unit by preset.
: >"$root/etc/machine-id"
rm -f "$root"/etc/ssh/ssh_host_* "$root"/var/lib/dbus/machine-id "$root"/var/lib/systemd/random-seed
ln -sfn /usr/share/zoneinfo/UTC "$root/etc/localtime"
chroot "$root" passwd -q -d root

# 5. What only the build needed, and what tells where it was built.
rm -rf "$root"/boot/* "$root"/etc/apt/sources.list* "$root"/etc/apt/apt.conf.d/99mmdebstrap \
    "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/var/lib/apt/lists/* "$root"/var/cache/debconf/*-old \
    "$root"/var/log/*.log "$root"/var/log/apt/*
