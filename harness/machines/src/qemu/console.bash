# Each command is a job with a process group of its own, so that the shell can kill it.
set -m +o history
umask 022
cp_dir=/run/coldproof
[ -d $cp_dir ] || mkdir -m 700 $cp_dir

# The bulk port is opened once and stays open as descriptor 5: closing it would throw away what
# the controller has sent already. Commands do not inherit it. It is looked up by the kernel's
# own name, as udev may be late with the symbolic one.
cp_open_bulk() {
  local port device
  [ ! -e /proc/$$/fd/5 ] || return 0
  for port in /sys/class/virtio-ports/*; do
    [ "$(<$port/name)" = bulk ] && device=/dev/${port##*/}
  done
  [ -n "$device" ] && cp_end_jobs_of_predecessor $device && exec 5<>$device
} 2>/dev/null

# The port can be opened once only. A job of a shell that was killed still has it.
cp_end_jobs_of_predecessor() {
  local holder
  for holder in /proc/[0-9]*/fd/5; do
    if [ $holder -ef $1 ]; then
      holder=${holder#/proc/} holder=${holder%/fd/5}
      kill -KILL -- -$holder
      tail --pid=$holder -s 0.05 -f /dev/null
    fi
  done
  return 0
}

# cp_sync TOKEN: ends the running job, and reads away its input up to TOKEN, which the controller
# sends once it knows that the port is open.
cp_sync() {
  local byte line
  [ -z "$cp_job" ] || { kill -KILL -- -$cp_job; wait $cp_job; } 2>/dev/null
  cp_open_bulk || { udevadm settle; cp_open_bulk; } || { echo '@@coldproof-no-bulk'; return; }
  printf '\n%s-open\n' "$1" >&5
  # Mostly nothing is under way but an empty line and the token, which takes no program to see.
  read -r -u 5 -N 1 byte
  [ "$byte" != $'\n' ] || read -r -u 5 line
  [ "$line" = "$1" ] || grep -q -a -x -F -e "$1" <&5
  printf '\n%s\n' "$1" >&5
}

# cp_start ID STDIN-BYTES|- COMMAND…
cp_start() { cp_run "$@" </dev/null & cp_job=$!; }

# Output goes to files first: a pipe would stay open as long as any process the command left
# behind, and the sizes must be known before the frame is sent.
cp_run() {
  local id=$1 count=$2 out=$cp_dir/$1.out err=$cp_dir/$1.err status
  shift 2
  if [ "$count" = - ]; then
    (exec -- "$@") >$out 2>$err 5>&-
  else
    # What the command leaves unread is read away, or it would be the next command's input.
    head -c "$count" <&5 | { (exec -- "$@"); status=$?; cat >/dev/null; exit $status; } >$out 2>$err 5>&-
  fi
  status=$?
  cp_send_short $id $status $out $err || cp_send $id $status $out $err
  rm -f $out $err
}

# Sends what the shell itself can hold: less than 64 KiB, without a zero byte. Starting a program
# costs more than that on an emulated processor.
cp_send_short() {
  local LC_ALL=C IFS= out err
  ! read -r -d '' -n 65536 out <$3 && ! read -r -d '' -n 65536 err <$4 || return 1
  printf '%s' "@@coldproof $1 $2 ${#out} ${#err}"$'\n' "$out" "$err" >&5
}

cp_send() {
  local sizes
  sizes=($(stat -c %s $3 $4))
  echo "@@coldproof $1 $2 ${sizes[*]}" >&5
  [ "${sizes[0]}" = 0 ] || head -c "${sizes[0]}" $3 >&5
  [ "${sizes[1]}" = 0 ] || head -c "${sizes[1]}" $4 >&5
}
