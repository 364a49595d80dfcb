#!/bin/bash
# Runs a command of UNIT under strace. usage: strace.sh UNIT COMMAND ARGUMENT…
dir=/run/coldproof-race
unit=$1
shift
options=(--seccomp-bpf -ff -o "$dir/traces/$unit/t" -e trace=%file,fchdir,flock,fcntl,getdents64,bind,connect,close,clone,clone3,fork,vfork -e signal=none)
# Signals are injected into calls that no filter lets through unseen, so those options come without --seccomp-bpf.
[[ ! -e $dir/options/$unit ]] || mapfile -d '' -t options <"$dir/options/$unit"
# Who only has to run while another stands still is quicker without.
((${#options[@]})) || exec -- "$@"
# -D: the command stays the main process. -s 0: no data, which may be secret, but names in full.
exec /usr/bin/strace -D -f -q -y -ttt -s 0 "${options[@]}" -- "$@"
