#!/bin/sh
# The guest's first process: mounts, modules, tests, end.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs tmp /tmp
mkdir -p /run/netns /run/lock /var/lib
# Tunnel modules put a device of their own into every namespace otherwise.
echo 2 >/proc/sys/net/core/fb_tunnels_only_for_init_net
exec </dev/null >/dev/ttyS1 2>&1
echo "guest: up"
while read -r module; do
  insmod "/modules/$module" || echo "guest: broken module $module"
done </modules/order
hostname guest
ip link set lo up
echo "guest: Linux $(uname -r), $(wc -l </modules/order) modules, ready $(cut -d. -f1 /proc/uptime) s after boot"
. /tests.sh
echo "guest: done"
# Until the last line has left the serial port.
sleep 1
poweroff -f
