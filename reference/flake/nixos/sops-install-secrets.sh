#!/bin/bash
# Decrypts the declared secrets into a new generation below /run/secrets.d, a RAM file system, and then points
# /run/secrets at it. All or nothing: after any failure /run/secrets is what it was before.
# usage: sops-install-secrets MANIFEST
# MANIFEST: tab-separated, the kind of key (age, ssh) and its file, then one secret a line:
#           sops file, key, name, path, mode, owner, group, units to restart
set -euo pipefail

fail() { echo "sops-install-secrets: $*" >&2; exit 1; }

{
  IFS=$'\t' read -r kind key_file
  mapfile -t secrets
} <"$1"
[[ -r $key_file ]] || fail "cannot read keyfile '$key_file': no such file or directory"

# Nothing but the declared key may decrypt: sops would also look into ~/.ssh and ~/.config.
unset "${!SOPS_AGE@}" XDG_CONFIG_HOME
export SOPS_DISABLE_VERSION_CHECK=1 HOME=/nonexistent LC_ALL=C.UTF-8
case $kind in
  age) export SOPS_AGE_KEY_FILE=$key_file ;;
  ssh) export SOPS_AGE_KEY_CMD="ssh-to-age $key_file" ;;
esac

# value[FILE KEY] is a JSON string without its quotes, in the form that printf's %b turns into the secret itself: it
# knows JSON's escapes but that of the quote, and needs the locale for those beyond ASCII.
# One sops process for each file; process substitution, because a here-document can be spilled to /tmp.
declare -A value decrypted
decrypt() {
  local file=$1 lines line
  mapfile -t lines < <(exec sops decrypt --output-type json "$file")
  wait $! || fail "cannot decrypt '$file'"
  for line in "${lines[@]}"; do
    if [[ $line =~ ^$'\t'\"([^\"]+)\":\ \"(.*)\",?$ ]]; then
      value[$file ${BASH_REMATCH[1]}]=${BASH_REMATCH[2]//\\\"/\\x22}
    fi
  done
  decrypted[$file]=1
}

for secret in "${secrets[@]}"; do
  IFS=$'\t' read -r file key name _ <<<"$secret"
  [[ ${decrypted[$file]-} ]] || decrypt "$file"
  [[ ${value[$file $key]+set} ]] || fail "secret '$name': the key '$key' is not a string in '$file'"
done
[[ ${NIXOS_ACTION-} == dry-activate ]] && exit

mountpoint -q /run/secrets.d || {
  mkdir -p -m 0751 /run/secrets.d
  mount -t ramfs -o nodev,nosuid,mode=0751 ramfs /run/secrets.d
}
previous=$(readlink /run/secrets || true)
generation=/run/secrets.d/$(( ${previous##*/} + 1 ))
rm -rf "$generation"
mkdir -m 0751 "$generation"
cd "$generation"

# Files are private until owner and mode are as declared. Those that share them are changed together.
declare -A with_mode with_owner
umask 0077
for secret in "${secrets[@]}"; do
  IFS=$'\t' read -r file key name _ mode owner group _ <<<"$secret"
  printf '%b' "${value[$file $key]}" >"$name"
  with_mode[$mode]+=" $name"
  with_owner[$owner:$group]+=" $name"
done
# Splitting is wanted: these are lists of names.
for owner in "${!with_owner[@]}"; do chown "$owner" ${with_owner[$owner]}; done
for mode in "${!with_mode[@]}"; do chmod "$mode" ${with_mode[$mode]}; done

# A unit is restarted where a secret that it names has changed, not where it is new.
if [[ $previous ]]; then
  for secret in "${secrets[@]}"; do
    IFS=$'\t' read -r _ _ name _ _ _ _ units <<<"$secret"
    [[ -z $units ]] || cmp -s "$previous/$name" "$name" || printf '%s\n' $units >>/run/nixos/activation-restart-list
  done
fi

ln -sfn "$generation" /run/secrets.new
mv -T /run/secrets.new /run/secrets
umask 0022
for secret in "${secrets[@]}"; do
  IFS=$'\t' read -r _ _ name path _ <<<"$secret"
  [[ $path == "/run/secrets/$name" ]] || { mkdir -p "${path%/*}"; ln -sfn "/run/secrets/$name" "$path"; }
done
[[ -z $previous ]] || rm -rf "$previous"
