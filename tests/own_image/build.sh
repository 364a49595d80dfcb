#!/bin/bash
# Builds a qcow2 with a boot loader of its own: GRUB for BIOS in front of the first partition, GRUB for UEFI in a second.
# usage: build.sh OUT MIRROR KEYRING PACKAGES SUITE FILES     (OUT: a new directory; FILES: a tree laid over the packages)
set -euo pipefail
out=$1 mirror=$2 keyring=$3 packages=$4 suite=$5 files=$6
here=$(dirname "$(readlink -f "$0")")
uuid=7c0a1d5e-5a1f-4c53-9a40-2f0b6a3d9e11
sectors_root=$((3 * 1024 * 2048)) # 3 GiB
sectors_efi=$((8 * 2048)) # what customise.sh makes
first=2048

as_root() { if ((EUID == 0)); then "$@"; else mmdebstrap --unshare-helper "$@"; fi; }
mmdebstrap=(mmdebstrap --mode=unshare)
((EUID != 0)) || mmdebstrap=(unshare --mount --propagation=private -- mmdebstrap --mode=root)

ssh-keygen -q -t ed25519 -N '' -C own-image -f "$out/id"
INITRD=No "${mmdebstrap[@]}" --variant=minbase --format=directory --keyring="$keyring" --include="$packages" \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "0"' --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' "$suite" "$out/root" "$mirror"
as_root cp -r --remove-destination --preserve=mode --no-target-directory "$files" "$out/root"
as_root sh "$here/customise.sh" "$out/root" "$uuid" "$out/id.pub"

# The disk: MBR, GRUB's core image behind it, the root file system, the EFI system partition.
disk=$out/disk.raw
truncate -s $(((first + sectors_root + sectors_efi) * 512)) "$disk"
chmod 0666 "$disk" # the tree's root user writes it too
little_endian() { printf "\\x$(printf %02x $(($1 & 255)))\\x$(printf %02x $((($1 >> 8) & 255)))\\x$(printf %02x $((($1 >> 16) & 255)))\\x$(printf %02x $((($1 >> 24) & 255)))"; }
partition() { printf "\\x$1\\xff\\xff\\xff\\x$2\\xff\\xff\\xff" && little_endian "$3" && little_endian "$4"; } # FLAG TYPE START SIZE
put() { dd of="$disk" bs=512 seek="$1" conv=notrunc status=none; } # SECTOR
as_root cat "$out/root/usr/lib/grub/i386-pc/boot.img" | head -c 440 | put 0
{ partition 80 83 $first $sectors_root && partition 00 ef $((first + sectors_root)) $sectors_efi; } |
    dd of="$disk" bs=1 seek=446 conv=notrunc status=none
printf '\x55\xaa' | dd of="$disk" bs=1 seek=510 conv=notrunc status=none
as_root cat "$out/root/boot/grub/core.img" | put 1
as_root cat "$out/root/boot/grub/efi.img" | put $((first + sectors_root))
as_root mkfs.ext4 -q -F -U "$uuid" -L root -E "offset=$((first * 512)),lazy_itable_init=0,lazy_journal_init=0" \
    -d "$out/root" "$disk" $((sectors_root / 2))k
qemu-img convert -q -f raw -O qcow2 "$disk" "$out/disk.qcow2"
as_root rm -rf "$out/root"
rm -f "$disk"
