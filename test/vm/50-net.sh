#!/bin/bash
# The user-mode network of a machine: its address, published ports, the host's loopback only when that
# was asked for, and what hull-slirp has given up.
# time: 300
# fixtures: kernel busybox
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
"$HULL_TOP/test/fixtures" kernel busybox || give_up "the kernel and the image are there"
h() {
	hull --root "$T/h/root" --run "$T/h/run" "$@"
}
trap 'h vm rm -f $(h vm ls -q) >/dev/null 2>&1; h down >/dev/null 2>&1; [ -z "${web-}" ] || kill "$web"; at_end' EXIT
h up >/dev/null 2>&1
h load -i "$HULL_CACHE/busybox.tar" >/dev/null || give_up "the image loads"
h vm kernel add "$HULL_CACHE/kernel/package.deb" >/dev/null || give_up "the kernel is added"
run=(--accel cpu --memory 256m)
mkdir "$T/www"
head -c 3000000 /dev/urandom >"$T/www/blob"
python3 -m http.server 8099 --bind 127.0.0.1 --directory "$T/www" >/dev/null 2>&1 &
web=$!
within 10 curl -sf -o /dev/null http://127.0.0.1:8099/blob
get='printf "GET /blob HTTP/1.0\r\n\r\n" | nc -w 20 10.0.2.2 8099'

expect "a machine has an address, a gateway and a name server" 0 '10.0.2.15/24.*default via 10.0.2.2.*nameserver 10.0.2.3' \
	sh -c "'$B/hull' --root '$T/h/root' --run '$T/h/run' vm run --rm ${run[*]} busybox sh -c 'ip a; ip r; cat /etc/resolv.conf' | tr '\n' ' '"
expect "the host's loopback is out of reach" 1 '' h vm run --rm "${run[@]}" busybox sh -c "$get >/dev/null"
same "... and in reach where it is allowed" "$(sha256sum <"$T/www/blob")" "$(h vm run --rm --allow-loopback "${run[@]}" busybox sh -c \
	"$get | sed '1,/^\r\$/d' | sha256sum")"
h vm run -d --name web -p 127.0.0.1:8081:80 "${run[@]}" busybox sh -c \
	'mkdir /www; echo from-guest >/www/index.html; exec httpd -f -h /www -p 80' >/dev/null
within 60 curl -sf -m 2 -o /dev/null http://127.0.0.1:8081/
same "a published port leads to the machine" from-guest "$(curl -s -m 10 http://127.0.0.1:8081/)"
# Clients that leave in the middle are no reason to end (r1: SIGPIPE).
for _ in $(seq 20); do curl -s -m 0.01 -o /dev/null http://127.0.0.1:8081/; done
same "... also behind clients that left" from-guest "$(curl -s -m 10 http://127.0.0.1:8081/)"
matches "ps counts its packets" '[1-9][0-9.]*k?B / [1-9][0-9.]*k?B *$' "$(h vm ps | tail -n 1)"
expect "a port that is taken is told in one sentence" 125 '^hull: cannot listen on 127.0.0.1 port 8081' \
	h vm run --rm -p 127.0.0.1:8081:80 "${run[@]}" busybox true
# A tap of the host's instead: the machine's frames come out of it.
ip tuntap add tap9 mode tap
ip addr add 10.9.0.1/24 dev tap9
ip link set tap9 up
expect "a tap is a machine's network" 0 ' 1 packets received' h vm run --rm --net tap=tap9 "${run[@]}" busybox sh -c \
	'ip addr add 10.9.0.2/24 dev eth0; ip link set eth0 up; ping -c 1 -W 5 10.9.0.1'
expect "a tap that is not there is told" 125 "tap.*'nosuch'" h vm run --rm --net tap=nosuch "${run[@]}" busybox true
ip link del tap9
slirp=$(pgrep -f -- 'hull-slirp --publish tcp:127.0.0.1:8081' | head -n 1)
matches "hull-slirp is nobody, without rights, filtered" 'Uid:.1212501582.*CapEff:.0000000000000000.*Seccomp:.'"$filter" \
	"$(tr '\n' ' ' <"/proc/$slirp/status")"
same "... and sees one file" "/etc /etc/resolv.conf" "$(cd "/proc/$slirp/root" && find . -mindepth 1 | sed 's/^\.//' | sort | xargs)"
kill -9 "$slirp"
within 10 sh -c "! kill -0 $slirp 2>/dev/null"
refuse "a machine without its network has none" curl -sf -m 2 http://127.0.0.1:8081/
expect "... and goes on" 0 '^still$' h vm exec web echo still
h vm rm -f web >/dev/null
same "nothing is left" "" "$(pgrep -f "$T/h/run/keeper" | xargs)"
