#!/bin/sh
# Turns an unpacked Debian tree into a machine as somebody else would have it: a boot loader, the distribution's own
# initial RAM disk, the QEMU guest agent and sshd; nothing of the harness.
# usage: customise.sh ROOT FS-UUID AUTHORIZED-KEYS        (as the tree's root user)
set -eu
root=$1 uuid=$2 keys=$3
units=$root/etc/systemd/system

# 1. The rebuilt host's services wait for its configuration, as they would on NixOS.
rm -rf "$units"/*.wants "$units"/dbus-org.* "$units"/sshd.service
enable() { mkdir -p "$units/$2.wants" && ln -s "/usr/lib/systemd/system/$1" "$units/$2.wants/$1"; }
enable systemd-networkd.service multi-user.target
enable ssh.service multi-user.target
ln -sfn /usr/lib/systemd/system/multi-user.target "$units/default.target"
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer; do
    ln -sfn /dev/null "$units/$unit"
done

# 2. The way in over SSH.
install -d -m0700 "$root/root/.ssh"
install -m0600 "$keys" "$root/root/.ssh/authorized_keys"
rm -f "$root"/etc/ssh/ssh_host_*_key*
mkdir -p "$units/ssh.service.d"
printf '[Service]\nExecStartPre=\nExecStartPre=ssh-keygen -q -A\nExecStartPre=/usr/sbin/sshd -t\n' >"$units/ssh.service.d/own-host-keys.conf"

# 3. The distribution's initial RAM disk, with what reaches the root disk on each of the buses.
printf 'UUID=%s / ext4 defaults 0 1\n' "$uuid" >"$root/etc/fstab"
printf '%s\n' virtio_pci virtio_blk virtio_scsi ahci sd_mod ext4 >>"$root/etc/initramfs-tools/modules"
sed -i 's/^MODULES=.*/MODULES=list/' "$root/etc/initramfs-tools/initramfs.conf"
version=$(ls "$root/usr/lib/modules")
chroot "$root" update-initramfs -c -k "$version"

# 4. GRUB finds its configuration on the root file system.
mkdir -p "$root/boot/grub"
cat >"$root/boot/grub/grub.cfg" <<END
search --no-floppy --fs-uuid --set=root $uuid
linux /boot/vmlinuz-$version root=UUID=$uuid ro console=ttyS0 quiet no_timer_check net.ifnames=0
initrd /boot/initrd.img-$version
boot
END
modules='part_msdos part_gpt ext2 search search_fs_uuid linux normal configfile'
printf 'search --no-floppy --fs-uuid --set=root %s\nset prefix=($root)/boot/grub\nconfigfile /boot/grub/grub.cfg\n' \
    "$uuid" >"$root/boot/grub/early.cfg"
chroot "$root" grub-mkimage -O i386-pc -o /boot/grub/core.img -c /boot/grub/early.cfg -p /boot/grub biosdisk $modules
chroot "$root" grub-mkimage -O x86_64-efi -o /boot/grub/bootx64.efi -c /boot/grub/early.cfg -p /boot/grub $modules
truncate -s 8M "$root/boot/grub/efi.img"
chroot "$root" sh -euc 'cd /boot/grub; mkfs.vfat -n EFI efi.img; mmd -i efi.img ::/EFI ::/EFI/BOOT
    mcopy -i efi.img bootx64.efi ::/EFI/BOOT/BOOTX64.EFI'

# 5. Nothing that two machines would share, and nothing that tells where it was built.
: >"$root/etc/machine-id"
rm -f "$root"/var/lib/dbus/machine-id "$root"/var/lib/systemd/random-seed
ln -sfn /usr/share/zoneinfo/UTC "$root/etc/localtime"
rm -rf "$root"/etc/apt/sources.list* "$root"/etc/apt/apt.conf.d/99mmdebstrap \
    "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt/*
