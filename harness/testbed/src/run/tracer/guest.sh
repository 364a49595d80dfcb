# What the tracer does in its guest. usage: bash guest.sh COMMAND ARGUMENT…
# Everything that units write goes into overlays, so that each can be given the state that the switch left behind.
set -u
dir=/run/coldproof-race    # readable by units that run as other accounts
layers=/.coldproof-race    # on the disk, and in none of the trees below
trees=(/etc /home /opt /root /srv /tmp /var)

in_run() { # the names in /run, but for systemd's own and the harness's
  find /run -xdev -mindepth 1 \( -path /run/systemd -o -path /run/udev -o -path /run/log -o -path '/run/coldproof*' \) \
    -prune -o -print | LC_ALL=C sort
}

overlay() {
  local tree layer
  for tree in "${trees[@]}"; do
    [[ -d $tree ]] || continue
    layer=$layers/$1${tree//\//_}
    mkdir -p "$layer"/{upper,work} || return
    chmod --reference="$tree" "$layer/upper" && chown --reference="$tree" "$layer/upper" || return
    mount -t overlay -o "lowerdir=$tree,upperdir=$layer/upper,workdir=$layer/work" coldproof-race "$tree" || return
  done
}

# gate: holds back every service of the host's own that does not run yet
gate() {
  type strace pgrep &>/dev/null || { echo 'the image lacks strace or pgrep: units cannot be traced; add both' >&2; return 1; }
  mkdir -p -m755 "$dir" && mkdir -p -m1777 "$dir/traces" && mkdir -p "$dir/options" && chmod 1777 "$dir/traces" || return
  systemctl list-units --type=service --state=active,activating,reloading --plain --no-legend --full |
    while read -r unit _; do echo "$unit"; done >"$dir/running"
  mkdir -p /run/systemd/system/service.d
  printf '[Service]\nExecCondition=+/bin/bash %s/gate.sh %%n %%p\n' "$dir" >/run/systemd/system/service.d/coldproof-gate.conf
  systemctl daemon-reload
}

held() { [[ ! -e $dir/held ]] || LC_ALL=C sort -u "$dir/held"; }

# prepare: units start traced from now on, from the state that there is now
prepare() {
  rm -f /run/systemd/system/service.d/coldproof-gate.conf
  systemctl daemon-reload
  modprobe -q overlay
  mkdir -p "$layers"
  # Nothing can be laid over a container's own overlay with its changes in the same place.
  [[ $(stat --file-system --format=%T /) != overlayfs ]] || mount -t tmpfs coldproof-race "$layers" || return
  in_run >"$dir/run" && overlay 0
}

# rewind NUMBER UNIT…: stops the units and brings the first state back
rewind() {
  local number=$1 tree
  shift
  if (($#)); then
    systemctl kill --signal=CONT -- "$@" 2>/dev/null
    systemctl stop -- "$@"
    systemctl reset-failed -- "$@" 2>/dev/null
  fi
  for tree in "${trees[@]}"; do
    [[ ! -d $tree ]] || umount -l "$tree" || return
  done
  rm -rf "$layers/$((number - 1))"_*
  LC_ALL=C comm -13 "$dir/run" <(in_run) | while IFS= read -r path; do rm -rf -- "$path"; done
  rm -rf "$dir"/traces/*
  overlay "$number"
}

launch() { timeout "$2" systemctl start --quiet --job-mode=ignore-dependencies -- "$1" 2>/dev/null; }

# run UNIT SECONDS: starts one unit and says how it went
run() {
  local type pid
  install -d -m1777 "$dir/traces/$1"
  launch "$1" "$2"
  { read -r type; read -r pid; } < <(systemctl show --property=Type --property=MainPID --value -- "$1")
  # Started says nothing of what these have done: they are watched for a while, or to their end.
  [[ $type != @(simple|exec|idle) || $pid == 0 ]] || timeout 3 tail --pid="$pid" -f /dev/null
  result "$1"
}

# run_untraced UNIT SECONDS: the same, but quicker, where nobody wants to know what it touches
run_untraced() {
  : >"$dir/options/$1"
  run "$@"
  rm -f "$dir/options/$1"
}

# traces UNIT: prints what the unit's processes did, a process at a time
traces() {
  local file
  for file in "$dir/traces/$1"/t.*; do
    [[ -e $file ]] || continue
    printf '==> %s\n' "${file##*/t.}"
    cat -- "$file"
  done
}

# result UNIT: systemd's result of it
result() { systemctl show --property=Result --value -- "$1"; }

# release UNIT: lets a unit that was stopped go on
release() {
  local pid
  # Without its tracer it is not stopped again.
  for pid in $(pgrep --exact strace); do
    ! grep --quiet --no-messages --fixed-strings "$dir/traces/stop" "/proc/$pid/cmdline" ||
      { kill -KILL "$pid"; tail --pid="$pid" -f /dev/null; }
  done
  systemctl kill --signal=CONT -- "$1" 2>/dev/null
}

# meet STOPPED CALL PATH MEANWHILE SECONDS: stops one unit after its first CALL on PATH, and runs the other meanwhile
meet() {
  local stopped=$1 call=$2 path=$3 meanwhile=$4 seconds=$5 starting watching tail met=missed unit
  local told=("$stopped" "$meanwhile")
  install -d -m1777 "$dir/traces/$stopped"
  install -m666 /dev/null "$dir/traces/stop"
  printf '%s\0' -P "$path" -e "trace=$call" -e "inject=$call:signal=SIGSTOP:when=1" -o "$dir/traces/stop" >"$dir/options/$stopped"
  : >"$dir/options/$meanwhile"
  launch "$stopped" "$((3 * seconds))" &
  starting=$!
  exec {events}< <(exec tail -n +1 -F "$dir/traces/stop" 2>/dev/null)
  tail=$!
  timeout "$seconds" grep -q -m1 'stopped by SIGSTOP' <&$events &
  watching=$!
  # Whichever comes first: it has stopped, or it came to its end without the call.
  wait -n -p first "$starting" "$watching" && [[ $first == "$watching" ]] && met=met
  if [[ $met == met ]]; then
    launch "$meanwhile" "$seconds"
    (($? != 124)) || met=waited
  fi
  kill "$tail" "$watching" 2>/dev/null
  release "$stopped"
  if [[ $met == met && $(result "$meanwhile") != @(success|exec-condition) ]]; then
    # That is enough; what the other would make of it is not waited for.
    told=("$meanwhile")
    systemctl stop -- "$stopped"
  fi
  wait "$starting"
  # One that waited for the other comes to its end now.
  [[ $met != waited ]] || launch "$meanwhile" "$seconds"
  rm -f "$dir/options/$stopped" "$dir/options/$meanwhile"
  echo "$met"
  for unit in "${told[@]}"; do
    printf '%s\t%s\t%s\n' "$unit" "$(result "$unit")" "$(last_words "$unit")"
  done
}

# last_words UNIT: the last line that it wrote in its last run
last_words() {
  journalctl --sync 2>/dev/null # of what the unit wrote last, not all may have come in
  journalctl --quiet --output=cat --lines=1 _TRANSPORT=stdout \
    "_SYSTEMD_INVOCATION_ID=$(systemctl show --property=InvocationID --value -- "$1")"
}

"$@"
