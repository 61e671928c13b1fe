#!/bin/bash
# Two Hulls with different directories, and a dockerd beside them: none sees or disturbs another.
# time: 180
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
# What dockerd and containerd leave of themselves is theirs.
foreign '^link docker0' '^nft table ip6? (nat|filter)' '^file /run/(docker|containerd)' '^cgroup .*/docker' \
	'^file /var/run/docker' '^mount .*/dockerd/' '^file /(etc|var/lib)/(docker|containerd|cni)'
outside_up || give_up "a network with an outside"
mkdir -p "$T/dockerd"
dockerd -H "unix://$T/dockerd/run/docker.sock" --data-root "$T/dockerd/root" --exec-root "$T/dockerd/run/exec" \
	-p "$T/dockerd/pid" >"$T/dockerd/log" 2>&1 &
dockerd=$!
within 30 curl -sf --unix-socket "$T/dockerd/run/docker.sock" http://d/_ping || give_up "a dockerd runs" "$(tail "$T/dockerd/log")"
up one
up two
all="one two dockerd"
H=dockerd have_busybox

serve='echo serving; while :; do hostname | nc -l -p 80; done'
port=8000
for H in $all; do
	port=$((port + 1))
	check "$H runs a container called web" dk run -d --name web -h "web-of-$H" -p $port:80 busybox sh -c "$serve"
	dk network create garden >/dev/null
	check "... and one in a network called garden" dk run -d --name rose --network garden busybox sleep 300
	check "... and a volume called seeds" dk run --rm -v seeds:/s busybox sh -c "echo of $H >/s/file"
done
for H in $all; do
	same "$H sees its own two containers" "rose web" "$(dk ps --format '{{.Names}}' | sort | xargs)"
	same "... its own volume" "of $H" "$(dk run --rm -v seeds:/s busybox cat /s/file)"
	matches "... its own names" '0% packet loss' "$(dk run --rm --network garden busybox ping -c 1 -W 2 rose)"
	matches "... and the world outside" '0% packet loss' "$(dk run --rm busybox ping -c 1 -W 2 10.99.0.2)"
done
port=8000
for H in $all; do
	port=$((port + 1))
	same "the port of $H leads to it" "web-of-$H" "$(asks "127.0.0.1:$port")"
	same "... from outside too" "web-of-$H" "$(asks "10.99.0.1:$port" ip netns exec out)"
done
H=two expect "a port of another daemon is in use" 125 '8001.*(in use|already|allocated)' dk run --rm -p 8001:80 busybox true

# One is emptied, with everything a client can reach; then killed and restarted: the others stand.
hull_made=$(timeout 20 "$B/hull" run -d --name cli --root "$T/one/root" --run "$T/one/run" busybox sleep 300 2>&1)
matches "hull starts one of its own" '^[0-9a-f]{12,64}$' "$hull_made"
H=one
# shellcheck disable=SC2046 # a list of ids
dk rm -f $(dk ps -aq) >/dev/null
same "docker rm -f \$(docker ps -aq) leaves what hull made" 1 \
	"$("$B/hull" ps --root "$T/one/root" --run "$T/one/run" 2>/dev/null | grep -c cli)"
"$B/hull" rm -f cli --root "$T/one/root" --run "$T/one/run" >/dev/null 2>&1
hulld_stop one KILL
for H in two dockerd; do
	same "$H still has both containers" "rose web" "$(dk ps --format '{{.Names}}' | sort | xargs)"
	matches "... their names" '0% packet loss' "$(dk run --rm --network garden busybox ping -c 1 -W 2 rose)"
done
same "... and the published port" web-of-two "$(asks 127.0.0.1:8002)"
same "... dockerd's too" web-of-dockerd "$(asks 10.99.0.1:8003 ip netns exec out)"
# The firewall's own policy is left alone.
iptables -P FORWARD DROP
same "a FORWARD policy of DROP stops nobody's published port" web-of-two \
	"$(asks 10.99.0.1:8002 ip netns exec out)"
down one
down two
H=dockerd
same "dockerd never noticed" "rose web" "$(dk ps --format '{{.Names}}' | sort | xargs)"
everything_goes
kill $dockerd
wait $dockerd 2>/dev/null
exit 0
