#!/bin/bash
# An incusd of a test's own, in namespaces of its own: when this ends, the kernel ends every process and mount of it.
# usage: daemon.sh DIRECTORY PROJECT      commands come by standard input, and its end is the end of all
set -u
dir=$1 project=$2
inner() {
  mount --make-rprivate /
  mkdir -p /var/lib/lxcfs
  lxcfs /var/lib/lxcfs >"$dir/lxcfs.log" 2>&1 &
  export INCUS_DIR=$dir/d https_proxy=http://127.0.0.1:9 # what the daemon asks of the internet ends here
  while read -r command; do
    case $command in
      start)
        /usr/libexec/incus/incusd --group root --logfile "$dir/incusd.log" >>"$dir/incusd.out" 2>&1 </dev/null &
        daemon=$!
        ;;
      kill) kill -KILL "$daemon" && wait "$daemon" 2>/dev/null ;;
    esac
    echo "done"
  done
}
if [ "${3-}" = inner ]; then
  inner
  exit
fi
unshare --mount --pid --fork --mount-proc --kill-child -- "$0" "$dir" "$project" inner
find /sys/fs/cgroup -depth -type d -name "lxc.*.${project}_*" -exec find {} -depth -type d -exec rmdir {} \; \; 2>/dev/null
rm -rf "$dir"
