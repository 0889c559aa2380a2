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

# PID 1 of the node's namespaces takes the kubelet, containerd, every pod and every mount with it.
init=$(cat "$folder/init.pid" 2>/dev/null)
# By now the number may be somebody else's.
if [ -n "$init" ] && grep -qF "$folder" "/proc/$init/cmdline" 2>/dev/null; then
  kill -s KILL "$init"
  attempt=0
  while [ -e "/proc/$init" ] && ! grep -q '^State:.Z' "/proc/$init/status" 2>/dev/null && [ $attempt -lt 100 ]; do
    sleep 0.1
    attempt=$((attempt + 1))
  done
fi
rm -f "$folder/init.pid"

# Loop devices belong to the machine, not to a namespace. One of ours has a file of ours; the kubelet puts another one on top
# of it for each block volume, which outlives a file that is deleted.
device_of() { stat -c '%Hd:%Ld' "$1" 2>/dev/null; }
loops() { losetup --noheadings --list --output NAME,BACK-INO,BACK-MAJ:MIN 2>/dev/null; }
loops | while read -r name inode device; do
  [ "$device" = "$(device_of "$folder/var-lib")" ] || continue
  find "$folder/var-lib" -xdev -inum "$inode" 2>/dev/null | grep -q . ||
    grep -q '(deleted)$' "/sys/block/${name##*/}/loop/backing_file" 2>/dev/null || continue
  node=$(stat -c %i "$name")
  loops | while read -r upper inode device; do
    [ "$device $inode" = "$(device_of /dev) $node" ] && losetup --detach "$upper"
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
