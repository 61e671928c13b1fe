#!/bin/bash
# A layer of four million entries in a few kilobytes: refused at the limit, nothing stays.
# time: 600
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
mkdir -p "$T/images" "$T/outside"
python3 "$HULL_TOP/test/hostile/layers.py" "$T/images" "$T/outside" bombs || give_up "the images are made"
hulld_start
expect "entries without number are refused" '0|1' '(too many|more than|limit).*entr|entr.*(too many|more than|limit)' \
	timeout 500 docker -H "unix://$T/hull/run/docker.sock" load -i "$T/images/refused/bomb_count.tar"
same "nothing stays" "" "$(find "$T/hull/root/layer" "$T/hull/root/blob" -mindepth 1 \
	! -path "$T/hull/root/blob/sha256" ! -path "$T/hull/root/blob/tmp")"
down
