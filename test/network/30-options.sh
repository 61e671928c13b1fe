#!/bin/bash
# Networks with wishes: subnets, fixed and refused addresses, a bridge's name and MTU, containers that
# must not talk to each other, v6 to the world, and hull-net killed.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
outside_up || give_up "a network with an outside"
up

# Addresses.
dk network create --subnet 10.70.0.0/24 --gateway 10.70.0.254 --ip-range 10.70.0.64/26 \
	--aux-address printer=10.70.0.65 -o com.docker.network.bridge.name=hltest \
	-o com.docker.network.driver.mtu=1400 --label a=b wish >/dev/null
same "subnet, gateway and range are kept" "10.70.0.0/24 10.70.0.254 10.70.0.64/26" \
	"$(dk network inspect -f '{{with index .IPAM.Config 0}}{{.Subnet}} {{.Gateway}} {{.IPRange}}{{end}}' wish)"
matches "the bridge has its name and MTU" 'mtu 1400' "$(ip link show hltest)"
matches "the first address is the first of the range" 'inet 10.70.0.64/24' \
	"$(dk run --rm --network wish busybox ip addr show eth0)"
matches "... the next one leaves out what is kept for others" 'inet 10.70.0.66/24' \
	"$(dk run --rm --network wish busybox ip addr show eth0)"
matches "... the MTU holds inside" 'mtu 1400' "$(dk run --rm --network wish busybox ip link show eth0)"
matches "... and the gateway is the route" 'default via 10.70.0.254' \
	"$(dk run --rm --network wish busybox ip route)"
dk run -d --name fixed --network wish --ip 10.70.0.10 --mac-address 02:42:aa:bb:cc:dd busybox sleep 300 >/dev/null
matches "an address by wish" 'inet 10.70.0.10/24' "$(dk exec fixed ip addr show eth0)"
matches "... and a MAC" '02:42:aa:bb:cc:dd' "$(dk exec fixed ip link show eth0)"
expect "a taken address is refused by name" 125 "10.70.0.10.*in use by container 'fixed'" \
	dk run --rm --network wish --ip 10.70.0.10 busybox true
expect "... one outside the subnet too" 125 "10.71.0.10.*does not lie in subnet" \
	dk run --rm --network wish --ip 10.71.0.10 busybox true
expect "an overlapping subnet is refused" 1 "overlaps '10.70.0.0/24' of network 'wish'" \
	dk network create --subnet 10.70.0.128/25 other
expect "... one that the host reaches otherwise" 1 "overlaps '10.99.0.*'" \
	dk network create --subnet 10.99.0.0/16 other
expect "a bad subnet is refused" 1 'invalid (subnet|Subnet|CIDR)|10.70.0.0/40' dk network create --subnet 10.70.0.0/40 other
expect "a name twice is refused" 1 'already exists' dk network create wish
expect "the default bridge stays" 1 'pre-defined' dk network rm bridge

# Containers that must not talk to each other.
dk network create -o com.docker.network.bridge.enable_icc=false quiet >/dev/null
dk run -d --name shy --network quiet busybox sleep 300 >/dev/null
shy=$(dk inspect -f '{{.NetworkSettings.Networks.quiet.IPAddress}}' shy)
refuse "icc off: neighbours do not reach each other" dk run --rm --network quiet busybox ping -c 1 -W 1 "$shy"
matches "... but the world" '0% packet loss' "$(dk run --rm --network quiet busybox ping -c 1 -W 2 10.99.0.2)"

# v6.
dk network create --ipv6 --subnet fd12:3456::/64 six >/dev/null
matches "v6: the world is reached" '0% packet loss' "$(dk run --rm --network six busybox ping -6 -c 1 -W 3 fd99::2)"
dk run -d --name web6 --network six -p 8600:80 busybox sh -c 'while :; do echo six | nc -l -p 80; done' >/dev/null
same "... a published port, from outside" six "$(ip netns exec out timeout 5 socat -t 3 - 'TCP6:[fd99::1]:8600' </dev/null)"
same "... advertisements are not listened to" 0 "$(dk exec web6 cat /proc/sys/net/ipv6/conf/eth0/accept_ra)"
same "without v6 a container has no v6 address but loopback's" "::1/128" \
	"$(dk run --rm busybox ip -6 addr | sed -n 's/.*inet6 \([^ ]*\).*/\1/p')"

# hull-net is killed: it comes back with everything.
netpid() {
	pgrep -f "hull-net $T/hull/run/net"
}
same "hull-net is not root" 1212501580 "$(awk '/^Uid/ {print $2}' "/proc/$(netpid)/status")"
same "... without capabilities" 0000000000000000 "$(awk '/^CapEff/ {print $2}' "/proc/$(netpid)/status")"
first=$(netpid)
kill -9 "$first"
again() {
	[ -n "$(netpid)" ] && [ "$(netpid)" != "$first" ] &&
		dk exec web6 nslookup web6 127.0.0.11 | grep -q fd12:3456
}
check "hull-net comes back, and names with it" within 8 again
check "... published ports too" within 5 sh -c "timeout 5 socat -t 3 - TCP:127.0.0.1:8600 </dev/null | grep -q six"

dk rm -f fixed shy web6 >/dev/null
for n in wish quiet six; do check "network $n is removed" dk network rm $n; done
refuse "... its bridge too" ip link show hltest

# Where default subnets come from.
hulld_start pools --default-address-pool 172.30.0.0/16:24 || exit 1
H=pools
same "default subnets come from the pool by wish" 172.30.0.0/24 \
	"$(dk network inspect -f '{{with index .IPAM.Config 0}}{{.Subnet}}{{end}}' bridge)"
H=hull
