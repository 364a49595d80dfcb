#!/bin/bash
# Builds a host's system from its flake and makes it the one that runs, as NixOS' command of this name does.
set -euo pipefail

profile=/nix/var/nix/profiles/system
nix=(nix --extra-experimental-features 'nix-command flakes')

usage() {
  cat >&2 <<'END'
usage: nixos-rebuild ACTION [--flake REF[#NAME]] [--rollback] [--option NAME VALUE] [--show-trace] [-L]
actions: switch boot test build dry-build dry-activate list-generations
END
  exit 1
}

action='' flake='' rollback='' build_flags=()
while (($#)); do
  case $1 in
    switch | boot | test | build | dry-build | dry-activate | list-generations) action=$1 ;;
    --flake) flake=${2:?--flake needs a reference} && shift ;;
    --flake=*) flake=${1#*=} ;;
    --rollback) rollback=1 ;;
    --option) build_flags+=("$1" "$2" "$3") && shift 2 ;;
    --show-trace | -L | --print-build-logs | --impure | --refresh | --keep-failed) build_flags+=("$1") ;;
    --help) usage ;;
    *) echo "nixos-rebuild: unknown option '$1'" >&2 && usage ;;
  esac
  shift
done
[[ $action ]] || usage

list_generations() {
  local link number version current
  printf '%-12s%-22s%s\n' Generation 'Build-date' 'NixOS version'
  for link in "$profile"-*-link; do
    current=''
    [[ $(readlink "$profile") != "${link##*/}" ]] || current=' current'
    number=${link%-link}
    version=$(<"$link/nixos-version")
    printf '%-12s%-22s%s\n' "${number##*-}$current" "$(stat -c %y "$link" | cut -d. -f1)" "$version"
  done
}

build_flake() { # build_flake FLAGS…: prints the system's path
  [[ $flake || ! -e /etc/nixos/flake.nix ]] || flake=/etc/nixos
  [[ $flake ]] || { echo "nixos-rebuild: there is no /etc/nixos/flake.nix; name a flake with --flake" >&2; return 1; }
  local name=${HOSTNAME%%.*}
  [[ $flake != *'#'* ]] || name=${flake#*#}
  local attribute="nixosConfigurations.\"$name\".config.system.build.toplevel"
  "${nix[@]}" build "${flake%%#*}#$attribute" "${build_flags[@]}" "$@"
}

set_profile() {
  # Without this a path that is no system would become the one that boots.
  [[ -e $1/nixos-version ]] || { echo "nixos-rebuild: '$1' is not a NixOS system (it has no nixos-version)" >&2; return 1; }
  nix-env --profile "$profile" --set "$1"
}

activate() { # activate SYSTEM: in a unit of its own, so that it survives the session that asked for it
  systemd-run -E LOCALE_ARCHIVE -E NIXOS_INSTALL_BOOTLOADER --collect --no-ask-password --pipe --quiet \
    --service-type=exec --unit=nixos-rebuild-switch-to-configuration \
    "$1/bin/switch-to-configuration" "$action" || {
    local status=$?
    echo "warning: error(s) occurred while switching to the new configuration" >&2
    exit "$status"
  }
}

if [[ $action == list-generations ]]; then
  list_generations
  exit
fi

if [[ $rollback ]]; then
  [[ $action == switch || $action == boot ]] || { echo "nixos-rebuild: --rollback goes with switch or boot" >&2; exit 1; }
  nix-env --rollback --profile "$profile"
  system=$(readlink -f "$profile")
else
  echo "building the system configuration..." >&2
  case $action in
    build)
      build_flake
      exit
      ;;
    dry-build)
      build_flake --dry-run
      exit
      ;;
  esac
  system=$(build_flake --no-link --print-out-paths)
  [[ $action == test || $action == dry-activate ]] || set_profile "$system"
fi
activate "$system"
