#!/bin/bash
# Brings one app to the state that the catalogue names. Safe to run again: what is as it should be is left alone.
# usage: reconcile.sh APP CREDENTIAL…      CREDENTIAL: the file of a secret that APP needs
# environment: CATALOGUE, a git repository
set -euo pipefail
app=$1
shift
state=/var/lib/ci-state

fetch_catalogue() {
  # One clone for all. The lock is taken or refused, it does not wait: units that come after each other never meet here.
  mkdir "$state/catalogue.lock" || { echo "another reconciler is cloning the catalogue" >&2; exit 1; }
  trap 'rmdir "$state/catalogue.lock"' EXIT
  rm -rf "$state/catalogue.new"
  git clone --quiet --no-hardlinks "$CATALOGUE" "$state/catalogue.new"
  git -C "$state/catalogue.new" fsck --strict --no-progress
  mv -T "$state/catalogue.new" "$state/catalogue"
}

write_if_changed() { # write_if_changed FILE TEXT
  local current=''
  IFS= read -r -d '' current 2>/dev/null <"$1" || true
  [[ $current == "$2" ]] || printf '%s' "$2" >"$1"
}

[[ -d $state/catalogue ]] || fetch_catalogue
mkdir -p "$state/apps" "$state/www"
read -r version <"$state/catalogue/$app/version"
for credential; do
  [[ -s $credential ]] || { echo "$app: the credential $credential is missing" >&2; exit 1; }
done
write_if_changed "$state/apps/$app" "$version"$'\n'

if [[ $app == dashboard ]]; then
  rows=''
  for file in "$state"/catalogue/*/version; do
    read -r version <"$file"
    name=${file%/version}
    rows+="<tr><td>${name##*/}<td>$version"
  done
  write_if_changed "$state/www/index.html" "<!doctype html><title>ci.example.test</title><table>$rows</table>"$'\n'
fi
