# Appends standard input to FOLDER/NAME.part, which must hold OFFSET bytes. Arguments: FOLDER NAME OFFSET.
# Given to `sh -c`, because standard input is the data. Exit status 75: somebody else is pushing.
set -eu
export LC_ALL=C
umask 077
cd "$1"
exec 9>>.push.lock
flock -w 5 9 || exit 75
echo $$ >.push.pid
if [ "$3" = 0 ]; then : >"$2.part"; fi
[ "$(stat -c %s "$2.part")" = "$3" ] || exit 75
exec cat >>"$2.part"
