# What test scripts share. A script begins with `. "$HULL_TOP/test/lib.sh"`, runs inside a cell
# (test/cell), owns the directory $T, and reports each case with `ok` or `not_ok` (the verbs below do
# it). It goes on after a failed case; a failed set-up step ends it with `give_up`.
# shellcheck shell=bash
set -u
T=$PWD
B=$HULL_BUILD
export PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export DOCKER_CONFIG="$T/.docker" DOCKER_CLI_HINTS=false HOME="$T/home" TMPDIR="$T/tmp"
mkdir -p "$DOCKER_CONFIG" "$HOME" "$TMPDIR"
echo "{}" >"$DOCKER_CONFIG/config.json"
export ASAN_OPTIONS=${ASAN_OPTIONS-abort_on_error=0:exitcode=99:detect_leaks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS-print_stacktrace=1:halt_on_error=1}
slow=${HULL_SLOW:-1}

# Whether the programs are sanitized: these make calls of their own and go without a filter.
sanitized() {
	nm "$B/hull-net" 2>/dev/null | grep -q __asan_init
}
# shellcheck disable=SC2034 # what /proc/PID/status says of a confined process under "Seccomp"
if sanitized; then filter=0; else filter=2; fi

declare -A HULLD_PID
H=hull # the daemon that dk speaks to
trap 'at_end' EXIT

# --- reporting -----------------------------------------------------------------------------------

ok() {
	echo "ok - $*"
}

# not_ok NAME [WHY...]
not_ok() {
	echo "not ok - $1"
	shift
	[ $# = 0 ] || printf '%s\n' "$@" | head -c 4000 | sed 's/^/    /'
	return 1
}

give_up() {
	not_ok "$@"
	exit 1
}

# expect NAME EXIT REGEX COMMAND...: the command ends with that code and its output (both streams)
# matches the extended regular expression. EXIT may be a list, "1|125"; "*" is any.
expect() {
	local name=$1 want=$2 regex=$3 code
	shift 3
	out=$("$@" 2>&1 </dev/null)
	code=$?
	if [ "$want" != '*' ] && ! [[ "|$want|" == *"|$code|"* ]]; then
		not_ok "$name" "exit code $code, not $want" "$out"
	elif ! grep -Eq -e "$regex" <<<"$out"; then
		not_ok "$name" "the output does not match: $regex" "$out"
	else
		ok "$name"
	fi
}

# same NAME WANTED FOUND
same() {
	if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "wanted: $2" "found:  $3"; fi
}

# matches NAME REGEX TEXT
matches() {
	if grep -Eq -e "$2" <<<"$3"; then ok "$1"; else not_ok "$1" "does not match $2:" "$3"; fi
}

# check NAME COMMAND...: the command succeeds.
check() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1 </dev/null); then ok "$name"; else not_ok "$name" "failed: $*" "$out"; fi
}

# refuse NAME COMMAND...: the command fails.
refuse() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1 </dev/null); then not_ok "$name" "succeeded: $*" "$out"; else ok "$name"; fi
}

# within SECONDS COMMAND...: succeeds as soon as the command does.
within() {
	local until=$(($(date +%s%N) + $1 * slow * 1000000000))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s%N)" -lt "$until" ] || return 1
		sleep 0.05
	done
}

# --- programs and images -------------------------------------------------------------------------

# prog NAME: the path of the static program made of test/prog/NAME.c.
prog() {
	local dir="$HULL_BUILD/test-prog"
	if [ ! "$dir/$1" -nt "$HULL_TOP/test/prog/$1.c" ]; then
		mkdir -p "$dir"
		cc -std=gnu17 -O2 -Wall -static -D_GNU_SOURCE -o "$dir/$1.$$" "$HULL_TOP/test/prog/$1.c" >&2 || return 1
		mv "$dir/$1.$$" "$dir/$1"
	fi
	echo "$dir/$1"
}

# A root with busybox and our own static programs: root_dir DIR
root_dir() {
	mkdir -p "$1"
	cp -a "$HULL_CACHE/busybox.root/." "$1"
	cp "$(prog true)" "$1/true"
}

# image FILE NAME:TAG CONFIG_JSON COMMAND...: a docker-archive of the busybox root after COMMAND ran in
# it (its working directory is the root).
image() {
	local file=$1 name=$2 config=$3 root
	shift 3
	root=$(mktemp -d "$T/root.XXXX")
	root_dir "$root"
	chmod 755 "$root"
	(cd "$root" && "$@") || return 1
	"$HULL_TOP/tool/image-tar" "$root" "$name" "$file" "$config"
	rm -rf "$root"
}

# bundle DIR [JQ_FILTER] [ARG...]: an OCI bundle with the busybox root; config.json is runc's default
# one without terminal and rlimits, args replaced, then changed by the filter.
bundle() {
	local dir=$1 filter=${2:-.} args
	shift
	[ $# = 0 ] || shift
	mkdir -p "$dir"
	[ -d "$dir/rootfs" ] || root_dir "$dir/rootfs"
	mkdir -p "$dir.spec" && runc spec -b "$dir.spec" || return 1
	args=$(jq -n '$ARGS.positional' --args -- "${@:-/true}")
	jq --argjson args "$args" ".process.terminal = false | .process.args = \$args |
		.root.readonly = false | del(.process.rlimits) | .process.capabilities.inheritable = [] |
		.process.capabilities.ambient = [] | .linux.cgroupsPath = \"/b$RANDOM$RANDOM\" | ($filter)" \
		"$dir.spec/config.json" >"$dir/config.json" || return 1
	rm -r "$dir.spec"
}

# oci ARGS...: hull-oci, without input; oci_in the same with it.
oci() {
	oci_in "$@" </dev/null
}

oci_in() {
	timeout --foreground -k 5 $((30 * slow)) "$B/hull-oci" --root "$T/oci" "$@"
}

# --- the daemon ----------------------------------------------------------------------------------

# hulld_start [NAME] [ARGS...]: starts a daemon with root and run directory $T/NAME/{root,run}.
hulld_start() {
	local name=${1:-hull}
	[ $# = 0 ] || shift
	mkdir -p "$T/$name"
	"$B/hulld" --root "$T/$name/root" --run "$T/$name/run" "$@" >>"$T/$name/log" 2>&1 </dev/null &
	HULLD_PID[$name]=$!
	if ! within 10 curl -sf --unix-socket "$T/$name/run/docker.sock" http://d/_ping; then
		not_ok "hulld '$name' answers" "$(tail -n 20 "$T/$name/log")"
		return 1
	fi
}

# hulld_stop [NAME] [SIGNAL]
hulld_stop() {
	local name=${1:-hull} pid code
	pid=${HULLD_PID[$name]-}
	[ -n "$pid" ] || return 0
	kill "-${2:-TERM}" "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	code=$?
	unset "HULLD_PID[$name]"
	return $code
}

# down [NAME]: removes every container, then ends the daemon; at SIGQUIT it takes bridges, rules and
# hull-net with it.
down() {
	local name=${1:-hull}
	[ -n "${HULLD_PID[$name]-}" ] || hulld_start "$name"
	[ "${KUBECONFIG-}" != "$T/$name/root/kube/kubeconfig" ] || pods_go
	H=$name everything_goes
	hulld_stop "$name" QUIT
}

everything_goes() {
	local ids nets
	ids=$(dk ps -aq)
	# shellcheck disable=SC2086 # a list of ids
	[ -z "$ids" ] || dk rm -f -v $ids >/dev/null
	nets=$(dk network ls -q --filter type=custom)
	# shellcheck disable=SC2086
	[ -z "$nets" ] || dk network rm $nets >/dev/null
}

# dk ARGS...: the stock client, on the daemon $H.
dk() {
	timeout -k 5 $((60 * slow)) docker -H "unix://$T/$H/run/docker.sock" "$@"
}

hull() {
	timeout -k 5 $((60 * slow)) "$B/hull" "$@"
}

# api METHOD PATH [JSON]: one raw request to the daemon $H; prints the body, then the status code.
api() {
	curl -s -m $((30 * slow)) --unix-socket "$T/$H/run/docker.sock" -X "$1" -w '\n%{http_code}\n' \
		${3+-H 'Content-Type: application/json' -d "$3"} "http://d$2"
}

# The busybox image in the daemon $H.
have_busybox() {
	dk image inspect busybox:latest >/dev/null 2>&1 || dk load -qi "$HULL_CACHE/busybox.tar" >/dev/null
}

# One line to begin with: a daemon that has busybox.
up() {
	hulld_start "${1:-hull}" || exit 1
	H=${1:-hull} have_busybox || give_up "the busybox image loads" "$(tail -n 20 "$T/${1:-hull}/log")"
}

# asks ADDRESS [COMMAND...]: what the server there says, asked by way of COMMAND. Between two clients a
# server of one at a time does not listen: it is asked again.
asks() {
	local address=$1 said=
	shift
	for _ in 1 2 3 4 5 6; do
		said=$("$@" timeout 5 socat -t 3 - "TCP:$address" </dev/null 2>/dev/null)
		[ -z "$said" ] || break
		sleep 0.3
	done
	echo "$said"
}

# --- a cluster -------------------------------------------------------------------------------------

# kubectls: every kubectl that this machine has: beside the one on the path lie those of other releases.
kubectls() {
	local own
	own=$(readlink -f "$(command -v kubectl)") || return 1
	ls "${own%/*}"/kubectl.1.* 2>/dev/null || echo "$own"
}

# cluster_up [NAME]: a daemon with busybox and a cluster whose node is ready; kc speaks to it.
cluster_up() {
	local name=${1:-hull}
	[ -n "${KUBECTL-}" ] || KUBECTL=$(kubectls | tail -n 1)
	hulld_start "$name" --kube-listen 127.0.0.1:6443 || exit 1
	export KUBECONFIG="$T/$name/root/kube/kubeconfig"
	H=$name have_busybox || give_up "the busybox image loads" "$(tail -n 20 "$T/$name/log")"
	within 20 kc get node -o name || give_up "the API answers" "$(tail -n 20 "$T/$name/log")"
	within 20 kc get serviceaccount default || give_up "there is a service account"
	within 20 sh -c "'$KUBECTL' get nodes --no-headers | grep -qw Ready" || give_up "the node is ready"
}

# pods_go: what makes pods goes, and they with it; a daemon that has none knows none.
pods_go() {
	[ -n "${KUBECTL-}" ] || KUBECTL=$(kubectls | tail -n 1)
	kc get nodes -o name >/dev/null 2>&1 || return 0
	kc delete deployments,statefulsets,daemonsets,cronjobs,jobs,replicasets,replicationcontrollers,pods --all \
		--all-namespaces --now --timeout=30s >/dev/null 2>&1
	within 20 sh -c "[ -z \"\$('$KUBECTL' get pods --all-namespaces -o name)\" ]"
}

# kc ARGS...: the stock kubectl ($KUBECTL) on the cluster.
kc() {
	timeout -k 5 $((60 * slow)) "$KUBECTL" "$@"
}

# is WANTED COMMAND...: that is what it prints.
is() {
	[ "$("${@:2}")" = "$1" ]
}

# get POD PATH: a part of it, by jsonpath.
get() {
	kc get pod "$1" -o "jsonpath=$2"
}

# field OBJECT PATH: the same of any object.
field() {
	kc get "$1" -o "jsonpath={$2}"
}

# apply [FILE]: what a manifest says shall be; - or nothing: standard input.
apply() {
	kc apply -f "${1:--}" >/dev/null
}

# --- a network with an outside, and a registry ---------------------------------------------------

# outside_up: a second network namespace "out" (10.99.0.2, fd99::2), reached by 10.99.0.1 as default.
outside_up() {
	ip netns add out && ip link add hx0 type veth peer name hx1 netns out &&
		ip addr add 10.99.0.1/24 dev hx0 && ip -6 addr add fd99::1/64 dev hx0 nodad &&
		ip link set hx0 up && ip -n out addr add 10.99.0.2/24 dev hx1 &&
		ip -n out -6 addr add fd99::2/64 dev hx1 nodad && ip -n out link set hx1 up &&
		ip -n out link set lo up && ip route add default via 10.99.0.2 &&
		ip -6 route add default via fd99::2
}

outside_down() {
	ip link del hx0 2>/dev/null
	ip netns del out 2>/dev/null
	umount /run/netns 2>/dev/null
	rmdir /run/netns 2>/dev/null
}

# registry_start [PORT]: a real registry on loopback; REGISTRY is its name.
registry_start() {
	local port=${1:-5000}
	mkdir -p "$T/registry.$port"
	cat >"$T/registry.$port.yml" <<-YML
		version: 0.1
		log: {level: error}
		storage: {filesystem: {rootdirectory: $T/registry.$port}, delete: {enabled: true}}
		http: {addr: "127.0.0.1:$port"}
		${2-}
	YML
	docker-registry serve "$T/registry.$port.yml" >"$T/registry.$port.log" 2>&1 &
	REGISTRY_PID=$!
	REGISTRY=127.0.0.1:$port
	within 10 curl -s "http://$REGISTRY/v2/" || give_up "a registry answers" "$(cat "$T/registry.$port.log")"
}

registry_stop() {
	[ -z "${REGISTRY_PID-}" ] || { kill "$REGISTRY_PID" && wait "$REGISTRY_PID"; } 2>/dev/null
	REGISTRY_PID=
}

# foreign PATTERN...: extended regular expressions of what peers (not Hull) leave behind.
foreign() {
	printf '%s\n' "$@" >>"$T/foreign"
}

at_end() {
	local name code=$?
	for name in "${!HULLD_PID[@]}"; do
		down "$name" >/dev/null 2>&1
	done
	# A daemon that ended badly said so: an assertion, a sanitizer's finding.
	for name in "$T"/*/log; do
		[ -f "$name" ] && grep -Eh 'ERROR: (Address|Leak)Sanitizer|runtime error:|Assertion .* failed' "$name" |
			sed 's/^/not ok - hulld: /' && grep -A 25 'Sanitizer' "$name" | head -n 60
	done
	registry_stop
	outside_down
	rm -rf "$TMPDIR"
	exit $code
}
