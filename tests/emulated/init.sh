#!/bin/bash
# The first process of the emulated machine: a camera, the program, off.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=/opt/site:/opt/app PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0
python3 /opt/guest.py </dev/null
echo o > /proc/sysrq-trigger
sleep 60
