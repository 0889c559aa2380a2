# Ends a real node and puts back what it changed on the machine.
#
#   sh undo.sh FOLDER [reboot]      FOLDER is the node's; after `reboot` it can be started again
#
# It runs in three cases: the node is stopped; the process that started it was killed (guard.rs); the next node finds
# what a killed one left (space.rs). It may run again, and half-way through a run that was cut off.
folder=$1
mode=${2:-}
[ -d "$folder" ] || exit 0
cd / || exit 1

# What sysfs shows of a loop device, asking neither it nor what serves its file, which may never answer.
shown() { cat "/sys/block/${1##*/}/loop/backing_file" 2>/dev/null; }
nodes() { for file in /sys/block/loop*/loop/backing_file; do [ -e "$file" ] && echo "/dev/$(echo "$file" | cut -d/ -f4)"; done; }

# PID 1 of the node's namespaces takes the kubelet, containerd, every pod and every mount with it.
init=$(cat "$folder/init.pid" 2>/dev/null)
# By now the number may be somebody else's.
images=
if [ -n "$init" ] && grep -qF "$folder" "/proc/$init/cmdline" 2>/dev/null; then
  # The devices of rbd-fuse's images: only in the node's mounts is their path a whole one.
  images=$(timeout 10 nsenter --target="$init" --mount grep -ls '^/run/mooring-rbd/' /sys/block/loop*/loop/backing_file | cut -d/ -f4)
  kill -s KILL "$init"
  attempt=0
  while [ -e "/proc/$init" ] && ! grep -q '^State:.Z' "/proc/$init/status" 2>/dev/null && [ $attempt -lt 100 ]; do
    sleep 0.1
    attempt=$((attempt + 1))
  done
fi
rm -f "$folder/init.pid"

# Their daemons, and who had them mounted, are gone.
for name in $images; do timeout 10 losetup --detach "/dev/$name" 2>/dev/null; done

# Loop devices belong to the machine, not to a namespace. One of ours has a file of ours; the kubelet puts another one on top
# of it for each block volume, which outlives a file that is deleted.
device_of() { stat -c '%Hd:%Ld' "$1" 2>/dev/null; }
# Whether the path may be that of a file of ours; it begins anywhere in our folder. Of a deleted one there is the folder.
may_be_ours() {
  case $1 in
    *' (deleted)') path=${1% (deleted)}; path=${path%/*}; [ -n "$path" ] ;;
    *) path=$1 ;;
  esac && find "$folder/var-lib" -xdev -name "${path##*/}" 2>/dev/null | grep -q .
}
backing() { losetup --noheadings --output BACK-INO,BACK-MAJ:MIN "$1" 2>/dev/null | { read -r inode device; echo "$inode $device"; }; }
nodes | while read -r name; do
  may_be_ours "$(shown "$name")" || continue
  file=$(backing "$name")
  inode=${file% *}
  [ "$file" = "$inode $(device_of "$folder/var-lib")" ] && [ -n "$inode" ] || continue
  find "$folder/var-lib" -xdev -inum "$inode" 2>/dev/null | grep -q . ||
    grep -q '(deleted)$' "/sys/block/${name##*/}/loop/backing_file" 2>/dev/null || continue
  node=$(stat -c %i "$name")
  nodes | while read -r upper; do
    case $(shown "$upper") in */"${name##*/}") ;; *) continue ;; esac
    [ "$(backing "$upper")" = "$node $(device_of /dev)" ] && losetup --detach "$upper"
  done
  # A deleted file may be that of another program's device, which only lacks its last close.
  find "$folder/var-lib" -xdev -inum "$inode" 2>/dev/null | grep -q . && losetup --detach "$name"
done

# The pods' groups of control (v1: one tree for each controller; v2: one tree). They are empty once the processes are.
group=$(cat "$folder/cgroup" 2>/dev/null)
if [ -n "$group" ]; then
  attempt=0
  while [ $attempt -lt 300 ]; do
    set --
    for tree in "/sys/fs/cgroup/$group" /sys/fs/cgroup/*/"$group"; do [ -d "$tree" ] && set -- "$@" "$tree"; done
    [ $# -eq 0 ] && break
    find "$@" -depth -type d -exec rmdir {} \; 2>/dev/null
    attempt=$((attempt + 1))
    [ -d "$1" ] && sleep 0.1
  done
fi
[ "$mode" = reboot ] && exit 0

bridge=$(cat "$folder/bridge" 2>/dev/null)
[ -n "$bridge" ] && ip link delete "$bridge" 2>/dev/null
if [ -f "$folder/sysctls" ]; then
  while IFS='=' read -r file value; do printf '%s\n' "$value" >"$file"; done <"$folder/sysctls"
  rm -f "$folder/sysctls"
fi
rm -rf "$folder"
