#!/bin/bash
# Makes this generation the running one: stops what changes, activates, then reloads, restarts and starts units.
# Exit status: 2 the activation script failed, 3 systemd did not reload, 4 a job or a unit failed (it overwrites 2),
# 100 the running init is too old or too new to follow.
set -uo pipefail
out=@out@
action=${1-}
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin NIXOS_ACTION=$action

case $action in
  switch | boot | test | dry-activate) ;;
  *)
    echo "Usage: $0 [switch|boot|test|dry-activate]" >&2
    exit 1
    ;;
esac

mkdir -p /run/nixos
exec 9>/run/nixos/switch-to-configuration.lock
flock -n 9 || { echo "Could not acquire lock" >&2; exit 1; }

# The image's init boots whatever the system profile is, so there is no boot loader to install.
[[ $action == boot ]] && exit 0

slurp() { IFS= read -r -d '' "$1" 2>/dev/null <"$2" || [[ -e $2 ]]; }

running=/run/current-system
if slurp old_interface $running/init-interface-version; then
  slurp new_interface "$out/init-interface-version"
  if [[ $old_interface != "$new_interface" && $action != dry-activate ]]; then
    echo "Warning: the new system's init ($new_interface) is not compatible with the running one ($old_interface)." >&2
    echo "Reboot to activate the new system." >&2
    exit 100
  fi
fi

# ---- what to do ------------------------------------------------------------------------------------------------------

old_units=$running/etc/systemd/system
new_units=$out/etc/systemd/system
stop=() start=() restart=() reload=() skip=()

declare -A active
while read -r unit _; do active[$unit]=1; done \
  < <(systemctl list-units --plain --no-legend --full --state=active,activating,reloading)

says() { [[ $'\n'$1 == *$'\n'"$2"* ]]; }

plan_change() {
  local unit=$1 new=$2
  if says "$new" X-ReloadIfChanged=true; then
    reload+=("$unit")
  elif says "$new" X-RestartIfChanged=false; then
    skip+=("$unit")
  elif says "$new" X-StopIfChanged=false; then
    restart+=("$unit")
  else
    # Stopped before activation, so that the old unit never meets the new generation's files.
    stop+=("$unit")
    start+=("$unit")
  fi
}

shopt -s nullglob
for file in "$old_units"/*.service "$old_units"/*.timer; do
  unit=${file##*/}
  [[ ${active[$unit]-} ]] || continue
  if ! slurp new "$new_units/$unit"; then
    stop+=("$unit")
  else
    slurp old "$file"
    [[ $old == "$new" ]] || plan_change "$unit" "$new"
  fi
done
# A target that is active starts what it newly wants.
targets=()
for directory in "$new_units"/*.wants; do
  target=${directory##*/}
  target=${target%.wants}
  [[ ${active[$target]-} ]] && targets+=("$target")
done

list() { local IFS=,; local joined="$*"; echo "${joined//,/, }"; }
announce() { # announce WORDS UNIT…
  local words=$1
  shift
  (($# == 0)) || echo "$words the following units: $(list "$@")" >&2
}

if [[ $action == dry-activate ]]; then
  announce "would stop" "${stop[@]}"
  echo "would activate the configuration..." >&2
  "$out/dry-activate"
  announce "would NOT restart" "${skip[@]}"
  announce "would reload" "${reload[@]}"
  announce "would restart" "${restart[@]}"
  announce "would start" "${start[@]}"
  exit 0
fi

# ---- do it -----------------------------------------------------------------------------------------------------------

status=0
if ((${#stop[@]})); then
  announce "stopping" "${stop[@]}"
  systemctl stop -- "${stop[@]}"
fi
announce "NOT restarting" "${skip[@]}"

echo "activating the configuration..." >&2
"$out/activate" || status=2

# Units that an activation snippet asks for, because a secret of theirs has changed.
while read -r unit; do
  [[ ${active[$unit]-} && " ${start[*]-} ${restart[*]-} " != *" $unit "* ]] && restart+=("$unit")
done < <(cat /run/nixos/activation-restart-list 2>/dev/null)
rm -f /run/nixos/activation-restart-list

systemctl reset-failed
systemctl daemon-reload || status=3
# By name: tmpfiles.d of the image itself was applied at boot.
systemd-tmpfiles --create /etc/tmpfiles.d/00-nixos.conf || status=4

if ((${#reload[@]})); then
  announce "reloading" "${reload[@]}"
  systemctl reload -- "${reload[@]}" || status=4
fi
if ((${#restart[@]})); then
  announce "restarting" "${restart[@]}"
  systemctl restart -- "${restart[@]}" || status=4
fi
announce "starting" "${start[@]}"
systemctl start -- "${targets[@]}" "${start[@]}" || status=4

# ---- how it went -----------------------------------------------------------------------------------------------------

failed=() fresh=()
while read -r unit _ state substate _; do
  case $state/$substate in
    failed/*) failed+=("$unit") ;;
    # Waiting for its next attempt: a failure if the last one failed.
    */auto-restart)
      [[ $(systemctl show --property=ExecMainStatus --value -- "$unit") == 0 ]] || failed+=("$unit")
      ;;
    active/*) [[ ${active[$unit]-} || ! -e $new_units/$unit ]] || fresh+=("$unit") ;;
  esac
done < <(systemctl list-units --plain --no-legend --full --state=active,failed,auto-restart)

((${#fresh[@]} == 0)) || echo "the following new units were started: $(list "${fresh[@]}")" >&2
if ((${#failed[@]})); then
  echo "warning: the following units failed: $(list "${failed[@]}")" >&2
  systemctl status --no-pager --full -- "${failed[@]}" >&2
  status=4
fi
exit $status
