#!/bin/bash
# Rules of others: a forward chain that drops by policy, and a firewall that is reloaded under us.
# time: 60
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
outside_up || give_up "a network with an outside"
up
serve='while :; do hostname | nc -l -p 80; done'
from_outside() {
	asks 10.99.0.1:8080 ip netns exec out
}
web_outside() { [ "$(from_outside)" = web ]; }
dk run -d --name web -h web -p 8080:80 busybox sh -c "$serve" >/dev/null
check "a published port answers" within 5 sh -c "timeout 5 socat -t 3 - TCP:127.0.0.1:8080 </dev/null | grep -q web"
same "... from outside" web "$(from_outside)"

nft add table ip firewall
nft 'add chain ip firewall forward { type filter hook forward priority 0; policy drop; }'
before=$(nft list table ip firewall)
same "a forward chain that drops does not stop it" web "$(from_outside)"
same "... and is left as it was" "$before" "$(nft list table ip firewall)"
matches "the log says what it means for the way out" "chain 'forward' of nftables table 'firewall' drops" "$(cat "$T/hull/log")"
ip netns exec out socat TCP4-LISTEN:7000,fork,reuseaddr SYSTEM:'echo $SOCAT_PEERADDR' &
stranger=$!
within 5 ip netns exec out socat -u /dev/null TCP:127.0.0.1:7000
same "containers get out by TCP all the same" 10.99.0.1 "$(dk run --rm busybox sh -c 'nc -w 5 10.99.0.2 7000 </dev/null')"
dk network create apart >/dev/null
dk run -d --name apart --network apart busybox sh -c "$serve" >/dev/null
same "... but not into another network" "" "$(dk run --rm busybox sh -c "nc -w 2 $(
	dk inspect -f '{{.NetworkSettings.Networks.apart.IPAddress}}' apart) 80 </dev/null" 2>/dev/null)"
door=$(nft list table inet "$(nft list tables inet | sed -n 's/table inet \(hull-.*\)/\1/p')" | sed -n 's/.*redirect to :\([0-9]*\).*/\1/p' | tail -1)
refuse "the door is the containers' only: not open from outside" ip netns exec out timeout 2 socat -u /dev/null "TCP:10.99.0.1:${door:-0},connect-timeout=1"
matches "... and there is one" '^[0-9]+$' "$door"
kill $stranger
dk rm -f apart >/dev/null
nft delete table ip firewall
out_again() { web_outside && nft list map inet "$(table)" publish4 | grep -q 8080; }
table() { nft list tables inet | sed -n 's/table inet \(hull-.*\)/\1/p'; }
check "without it the rules carry the port again" within 5 out_again

nft flush ruleset
check "a flushed ruleset is laid again" within 5 out_again
matches "... and NAT with it" '0% packet loss' "$(dk run --rm busybox ping -c 1 -W 2 10.99.0.2)"
dk rm -f web >/dev/null
same "the port is free again" "" "$(from_outside 2>/dev/null)"
