#!/bin/sh
# A stand-in for a release's install.sh --rollback; it meets the test in a folder.
set -eu
prefix=$3
touch "@GATES@/at-rollback"
while [ -e "@GATES@/hold-rollback" ]; do sleep 0.05; done
now=$(readlink "$prefix/current") then=$(readlink "$prefix/previous")
ln -sfn "$then" "$prefix/.c" && mv -T "$prefix/.c" "$prefix/current"
ln -sfn "$now" "$prefix/.p" && mv -T "$prefix/.p" "$prefix/previous"
systemctl restart bisenet-edge.service
echo "step rollback ok $(basename "$then")"
