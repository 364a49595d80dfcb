export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin LC_ALL=C
umask 077
[ "$(id -u)" = 0 ] || { echo "this is not root, and only root can read the secrets" >&2; exit 1; }
dir=
for base in /run /dev/shm; do
    case $(stat -f -c %T "$base") in tmpfs | ramfs) ;; *) continue ;; esac
    case ,$(findmnt -nro OPTIONS -T "$base"), in *,noexec,*) continue ;; esac
    dir=$(mktemp -d "$base/coldproof.XXXXXXXXXX") && break
done
[ -n "$dir" ] || { echo "neither /run nor /dev/shm is a RAM file system from which programs run" >&2; exit 1; }
trap 'rm -rf -- "$dir"' EXIT
trap 'exit 1' HUP INT TERM PIPE
echo "@@coldproof $dir"
# Until the connection ends, by whatever end.
cat >/dev/null
rm -rf -- "$dir"
[ ! -e "$dir" ] || exit 1
trap - EXIT
echo "@@coldproof gone"
