#!/bin/bash
# Networks: bridge with NAT and published ports, host, none, another container's, user-defined ones
# with names, v4 and v6.
# time: 180
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
outside_up || give_up "a network with an outside"
up
serve='while :; do echo -e "hello from $(hostname)" | nc -l -p 80; done'
# The stranger's answer tells who asked: what it sees is the source address.
ip netns exec out socat TCP4-LISTEN:7000,fork,reuseaddr SYSTEM:'echo $SOCAT_PEERADDR' &
stranger=$!

same "none: loopback only" lo "$(dk run --rm --network none busybox ls /sys/class/net | xargs)"
same "host: the host's own" "$(readlink /proc/self/ns/net)" "$(dk run --rm --network host busybox readlink /proc/self/ns/net)"
same "bridge: an interface of its own" "eth0 lo" "$(dk run --rm busybox ls /sys/class/net | xargs)"
matches "... with an address and a default route" 'default via' "$(dk run --rm busybox ip route)"
same "NAT: the outside sees the host's address" 10.99.0.1 \
	"$(dk run --rm busybox sh -c 'nc 10.99.0.2 7000 </dev/null')"
refuse "the outside does not reach a container unasked" ip netns exec out ping -c 1 -W 1 \
	"$(dk run -d --name quiet busybox sleep 100 >/dev/null; dk inspect -f '{{.NetworkSettings.IPAddress}}' quiet)"
dk rm -f quiet >/dev/null

# Published ports.
dk run -d --name web -h web -p 8080:80 -p 127.0.0.1:8081:80 -p 8090-8092:90-92 busybox sh -c "$serve" >/dev/null
matches "port lists them" '80/tcp -> 0.0.0.0:8080' "$(dk port web)"
matches "... ranges too" '92/tcp -> 0.0.0.0:8092' "$(dk port web)"
check "published: from the host's loopback" within 5 sh -c "timeout 5 socat -t 3 - TCP:127.0.0.1:8080 </dev/null | grep -q 'hello from web'"
same "... from the host's own address" "hello from web" "$(asks 10.99.0.1:8080)"
same "... from outside" "hello from web" "$(asks 10.99.0.1:8080 ip netns exec out)"
same "... on loopback v6" "hello from web" "$(asks '[::1]:8080')"
same "on one address only: there" "hello from web" "$(asks 127.0.0.1:8081)"
same "... and not elsewhere" "" "$(ip netns exec out timeout 2 socat -t 1 - TCP:10.99.0.1:8081 </dev/null 2>/dev/null)"
expect "a port in use is refused, and says which" 125 '8080.*(in use|already|allocated)' dk run --rm -p 8080:80 busybox true
same "... and nothing of it stays" web "$(dk ps -a --format '{{.Names}}')"
socat TCP-LISTEN:8200,reuseaddr,fork EXEC:/bin/true &
listener=$!
sleep 0.3
expect "so is one that a process of the host holds" 125 '8200.*(in use|already|allocated)' dk run --rm -p 8200:80 busybox true
kill $listener
wait $listener 2>/dev/null
dk run -d --name udp -p 5353:53/udp -v "$(prog udp):/udp" busybox /udp 53 >/dev/null
check "UDP is published" within 10 sh -c "echo ask | ip netns exec out timeout 3 socat -t 2 - UDP:10.99.0.1:5353 | grep -q 'udp answer'"
dk run -d --name udps -p 5360-5362:53-55/udp -v "$(prog udp):/udp" busybox sh -c '/udp 53 & /udp 54 & /udp 55' >/dev/null
udp() {
	echo ask | "${@:2}" timeout 3 socat -t 1 - "UDP:$1"
}
check "a range of UDP ports is published" within 10 eval '[ "$(udp 10.99.0.1:5362 ip netns exec out)" = "udp answer 55" ]'
same "... each port of it" "udp answer 53 udp answer 54" \
	"$(xargs <<<"$(udp 10.99.0.1:5360 ip netns exec out) $(udp 10.99.0.1:5361 ip netns exec out)")"
same "... on loopback too" "udp answer 54" "$(udp 127.0.0.1:5361 env)"
same "... and no more than those" "" "$(udp 10.99.0.1:5363 ip netns exec out 2>/dev/null)"
same "port lists them" "53/udp -> 0.0.0.0:5360 54/udp -> 0.0.0.0:5361 55/udp -> 0.0.0.0:5362" \
	"$(dk port udps | grep -F 0.0.0.0 | sort | xargs)"
expect "a range that overlaps is refused, and says which" 125 '5362/udp.*(in use|already|allocated)|5362.*(in use|already|allocated)' \
	dk run --rm -p 5362-5363:53-54/udp busybox true
for i in 1 2; do
	dk run -d --name "any$i" -p 5370-5371:53/udp busybox sleep 100 >/dev/null
done
same "one port of a range: the first that is free" "0.0.0.0:5370 0.0.0.0:5371" "$(for i in 1 2; do dk port "any$i" 53/udp | head -n 1; done | xargs)"
expect "... until there is none" 125 '5370-5371|537[01]' dk run --rm -p 5370-5371:53/udp busybox true
dk rm -f udps any1 any2 >/dev/null
hulld_stop hull KILL
same "published ports answer without the daemon" "hello from web" "$(asks 127.0.0.1:8080)"
same "... from outside too" "hello from web" "$(asks 10.99.0.1:8080 ip netns exec out)"
hulld_start hull || exit 1
same "... and after its return" "hello from web" "$(asks 127.0.0.1:8080)"
dk rm -f web udp >/dev/null
same "a removed container's port is free" "" "$(asks 127.0.0.1:8080 2>/dev/null)"

# Another container's network.
dk run -d --name first busybox sleep 100 >/dev/null
same "container: shares it" "$(dk exec first readlink /proc/self/ns/net)" \
	"$(dk run --rm --network container:first busybox readlink /proc/self/ns/net)"
dk rm -f first >/dev/null

# User-defined networks.
dk network create --subnet 10.55.0.0/24 --ipv6 --subnet fd55::/64 net1 >/dev/null
dk network create net2 >/dev/null
dk run -d --name s1 --network net1 --network-alias service busybox sh -c "$serve" >/dev/null
dk run -d --name s2 --network net2 busybox sleep 100 >/dev/null
client() {
	dk run --rm --network net1 busybox "$@"
}
matches "a name resolves" '10\.55\.0\.' "$(client nslookup s1 2>&1 | tail -n +3)"
matches "... an alias" '10\.55\.0\.' "$(client nslookup service 2>&1 | tail -n +3)"
matches "... in v6" 'fd55:' "$(client nslookup -type=aaaa s1 2>&1 | tail -n +3)"
matches "... and carries traffic" 'hello from' "$(client nc s1 80 </dev/null)"
refuse "a name of another network does not resolve" client nslookup s2
refuse "networks do not reach each other" dk run --rm --network net1 busybox \
	ping -c 1 -W 1 "$(dk inspect -f '{{.NetworkSettings.Networks.net2.IPAddress}}' s2)"
matches "v6 between containers" '0% packet loss' "$(client ping -6 -c 1 -W 2 "$(dk inspect -f '{{.NetworkSettings.Networks.net1.GlobalIPv6Address}}' s1)")"
dk network connect net1 s2
matches "connect" '0% packet loss' "$(dk exec s2 ping -c 1 -W 2 s1)"
dk network disconnect net1 s2
refuse "disconnect" dk exec s2 ping -c 1 -W 1 s1
same "a fixed address" 10.55.0.77 "$(dk run --rm --network net1 --ip 10.55.0.77 busybox ip -4 -o addr show eth0 | sed 's/.*inet \([0-9.]*\).*/\1/')"
expect "a network in use is not removed" 1 'active|in use|endpoint' dk network rm net1
matches "inspect lists who is there" s1 "$(dk network inspect net1)"
dk network create --internal inner >/dev/null
refuse "an internal network has no way out" dk run --rm --network inner busybox ping -c 1 -W 1 10.99.0.2
s1=$(dk inspect -f '{{.State.Pid}}' s1)
hulld_stop hull KILL
matches "names resolve without the daemon" '0% packet loss' \
	"$(nsenter -t "$s1" -n -m /bin/busybox ping -c 1 -W 2 s1 2>&1)"
hulld_start hull || exit 1
matches "... and after its return" '10\.55\.0\.' "$(client nslookup s1 2>&1 | tail -n +3)"
dk rm -f s1 s2 >/dev/null
check "networks are removed" dk network rm net1 net2 inner
kill $stranger
wait $stranger 2>/dev/null
down
