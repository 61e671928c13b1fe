#!/bin/bash
# A host whose own disk is an overlay (a container that runs hulld, a live system): overlay takes no upper
# directory on an overlay, so roots are copied. Everything else is as it is elsewhere.
# time: 90
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
overlay_here() {
	mkdir "$T/below" "$T/over" && mount -t tmpfs tmpfs "$T/below" && mkdir "$T"/below/{lower,upper,work} &&
		mount -t overlay -o "lowerdir=$T/below/lower,upperdir=$T/below/upper,workdir=$T/below/work" overlay "$T/over"
}
overlay_here || give_up "an overlay to stand on"
up over
H=over
inside() {
	dk run --rm "$@" 2>&1
}
check "it says how roots are made" within 10 eval '[ "$(dk info -f "{{.Driver}}")" = copy ]'
same "run" hi "$(inside busybox echo hi)"

# What an upper layer takes away stays away, though whiteouts cannot be written to an overlay as such.
mkdir -p "$T/l1/gone" "$T/l1/opaque" "$T/l1/dir" "$T/l2/opaque" "$T/l2/dir"
cp -a "$HULL_CACHE/busybox.root/." "$T/l1"
echo low >"$T/l1/dir/replaced"
touch "$T/l1/gone/x" "$T/l1/opaque/low" "$T/l1/file" "$T/l2/.wh.gone" "$T/l2/.wh.file" "$T/l2/opaque/.wh..wh..opq" "$T/l2/opaque/high"
echo high >"$T/l2/dir/replaced"
ln "$T/l2/dir/replaced" "$T/l2/dir/hard" && mkfifo "$T/l2/dir/fifo" && truncate -s 100M "$T/l2/dir/sparse"
cp "$T/l1/bin/busybox" "$T/l2/dir/suid" && chown 5:6 "$T/l2/dir/suid" && chmod 4755 "$T/l2/dir/suid"
python3 "$HULL_TOP/test/image/layers.py" "$T/two.tar" two:1 '{"Cmd":["sh"]}' "$T/l1:gzip" "$T/l2:gzip" || give_up "an image of two layers"
expect "an image of two layers loads" 0 'two:1' dk load -i "$T/two.tar"
same "whiteouts and opaque directories" "high no no" \
	"$(inside two:1 sh -c 'echo $(ls /opaque) $([ -e /gone ] && echo yes || echo no) $([ -e /file ] && echo yes || echo no)')"
same "what is above replaces, links are links" "high 2 fifo 4755" \
	"$(inside two:1 sh -c 'echo $(cat /dir/replaced; stat -c %h /dir/hard; stat -c %F /dir/fifo; stat -c %a /dir/suid)')"
same "sparse files are sparse" yes "$(inside two:1 sh -c '[ $(stat -c %b /dir/sparse) -lt 1000 ] && echo yes')"

# One container's life.
dk run -d --name life two:1 sh -c 'echo written >>/dir/replaced; rm /opaque/high; sleep 1000' >/dev/null
check "a container writes to its own" within 5 eval '[ "$(dk exec life sh -c "cat /dir/replaced; ls /opaque" | xargs)" = "high written" ]'
same "... and not to the image" high "$(inside two:1 cat /dir/replaced)"
echo copied | dk exec -i life sh -c 'cat >/from-exec'
echo in >"$T/in"
check "cp in" dk cp "$T/in" life:/in
same "cp out" copied "$(dk cp life:/from-exec - | tar xO)"
dk stop -t 0 life >/dev/null
dk start life >/dev/null
same "what was written stays across a restart" "in copied" "$(dk exec life sh -c 'echo $(cat /in /from-exec)')"
expect "diff is told to be unknown" 1 'what changed is not known: overlay does not work under .* the root is a copy' dk diff life
check "export" dk export -o "$T/exported.tar" life
matches "... has what was written" '^(./)?from-exec$' "$(tar tf "$T/exported.tar")"
expect "commit" 0 '^sha256:' dk commit life made:1
same "... of what is there" "in copied no" "$(inside made:1 sh -c 'echo $(cat /in /from-exec) $([ -e /opaque/high ] || echo no)')"
dk rm -f life >/dev/null
hulld_stop over KILL
hulld_start over || exit 1
same "... after a crash too" hi "$(inside two:1 echo hi)"
dk rmi -f made:1 two:1 busybox >/dev/null
check "nothing stays" within 5 eval '[ -z "$(ls "$T/over/root/layer" "$T/over/root/container" | grep -v :)" ]'
down over
umount "$T/over" "$T/below"
exit 0
