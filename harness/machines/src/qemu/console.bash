# Each command is a job with a process group of its own, so that the shell can kill it.
set -m +o history
umask 022
cp_dir=/run/coldproof
[ -d $cp_dir ] || mkdir -m 700 $cp_dir

# The bulk port is opened once and stays open as descriptor 5: closing it would throw away what
# the controller has sent already. Commands do not inherit it. It is looked up by the kernel's
# own name, as udev may be late with the symbolic one.
cp_open_bulk() {
  local port
  [ ! -e /proc/$$/fd/5 ] || return 0
  for port in /sys/class/virtio-ports/*; do
    if [ "$(<$port/name)" = bulk ]; then
      exec 5<>/dev/${port##*/}
      return
    fi
  done
  return 1
} 2>/dev/null

# cp_sync TOKEN: ends the running job, and reads away its input up to TOKEN.
cp_sync() {
  [ -z "$cp_job" ] || { kill -KILL -- -$cp_job; wait $cp_job; } 2>/dev/null
  cp_open_bulk || { udevadm settle; cp_open_bulk; } || { echo '@@coldproof-no-bulk'; return; }
  grep -q -a -x -F -e "$1" <&5
  printf '\n%s\n' "$1" >&5
}

# cp_start ID STDIN-BYTES|- COMMAND…
cp_start() { cp_run "$@" </dev/null & cp_job=$!; }

# Output goes to files first: a pipe would stay open as long as any process the command left
# behind, and the sizes must be known before the frame is sent.
cp_run() {
  local id=$1 count=$2 out=$cp_dir/$1.out err=$cp_dir/$1.err status sizes
  shift 2
  if [ "$count" = - ]; then
    (command "$@") >$out 2>$err 5>&-
  else
    # What the command leaves unread is read away, or it would be the next command's input.
    head -c "$count" <&5 | { (command "$@"); status=$?; cat >/dev/null; exit $status; } >$out 2>$err 5>&-
  fi
  status=$?
  if [ -s $out ] || [ -s $err ]; then
    sizes=($(stat -c %s $out $err))
    echo "@@coldproof $id $status ${sizes[*]}" >&5
    [ "${sizes[0]}" = 0 ] || head -c "${sizes[0]}" $out >&5
    [ "${sizes[1]}" = 0 ] || head -c "${sizes[1]}" $err >&5
  else
    echo "@@coldproof $id $status 0 0" >&5
  fi
  rm -f $out $err
}
