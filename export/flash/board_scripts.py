"""Shell scripts that run on a board, each over one connection: making a connection costs a small board half a second.

All end with 98 where the board cannot store something, STORE with 97 where a file did not arrive whole.
"""

from __future__ import annotations

from export.flash.board_places import HOME, RUNTIMES

NOT_STORED = 98
NOT_WHOLE = 97
NEVER = "never"

# What is there: "was" the runtime at work, "complete" the one that is wanted, "hash" and "part" of files that came
# before, "asked" with what the service was installed. A part is what came before a connection broke.
PREPARE = f"""\
mkdir -p {HOME}/wheels && chmod 700 {HOME} && cd {HOME} || exit 98
echo "was $(readlink /usr/local/bin/edgegraft)"
[ "$4" = signed ] || rm -f bundle.egb.sig || exit 98
wheels='wheels/*.whl'
if [ -e {RUNTIMES}/"$1"/.complete ]; then echo complete; wheels=; fi
sha256sum -- $wheels bundle.egb bundle.egb.sig root.json rules.toml 2>/dev/null | sed 's/^/hash /'
stat -c 'part %s %n' -- *.part wheels/*.part 2>/dev/null
printf 'asked '
cat "$2" 2>/dev/null && exit
[ -e "/etc/systemd/system/$3.service" ] && echo '{{}}' || echo {NEVER}
"""
# Of each file its name, the name of its part, its hash, and how many bytes of it come now. What has another hash is not
# kept, so that the next try begins anew.
STORE = f"""\
cd {HOME} || exit 98
while [ $# -gt 0 ]; do
    for old in "$1".*.part; do [ "$old" = "$2" ] || rm -f "$old"; done
    before=$(stat -c %s "$2" 2>/dev/null || echo 0)
    head -c "$4" >>"$2" || exit 98
    [ $(($(stat -c %s "$2") - before)) = "$4" ] || {{ echo "$1 was cut off" >&2; exit 97; }}
    [ "$(sha256sum <"$2")" = "$3  -" ] || {{ rm -f "$2"; echo "$1 is not what was sent" >&2; exit 97; }}
    sync "$2" && mv "$2" "$1" || exit 98
    shift 4
done
"""
MAKE_RUNTIME = f"""\
set -e
place={RUNTIMES}/$1
rm -rf "$place"
mkdir -p {RUNTIMES}
"$2" -m venv --without-pip "$place"
set -- "$1" {HOME}/wheels/pip-*.whl
"$place/bin/python" "$2/pip" install --no-index --find-links {HOME}/wheels --no-cache-dir --quiet \\
    --disable-pip-version-check --root-user-action ignore 'edgegraft[board]'
sync && touch "$place/.complete" && sync
"""
# The whole service is on the disk before it counts as installed. For root only: a camera's address may hold a secret.
REMEMBER = f"""\
umask 077 && sync && cd {HOME} && cat >"$1.new" && sync "$1.new" && mv "$1.new" "$1" && sync -f . || exit 98
"""
# Switched when the runtime has done its first work. Kept: the one at work, the one before, and whatever a unit of ours
# names; another service may be older.
USE_RUNTIME = f"""\
mkdir -p /usr/local/bin && cd /usr/local/bin || exit 98
ln -sfn "{RUNTIMES}/$1/bin/edgegraft" edgegraft.new && mv -T edgegraft.new edgegraft || exit 98
cd {RUNTIMES} || exit 0
for each in *; do
    [ -d "$each" ] && [ "$each" != "$1" ] && [ "$each" != "$2" ] || continue
    grep -rqsF "{RUNTIMES}/$each/" /etc/systemd/system/edgegraft* || rm -rf "./$each"
done
exit 0
"""
# Arguments come on standard input: a process list shows none of them.
_PROGRAM = "import json, sys; from device.cli import main; sys.exit(main(json.load(sys.stdin)))"
EDGEGRAFT = f'exec {RUNTIMES}/"$1"/bin/python -c "{_PROGRAM}"'
