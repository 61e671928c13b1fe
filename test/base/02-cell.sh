#!/bin/bash
# The cell that every test runs in sees what stays behind: a leak must turn a test red, and a clean
# script must not.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"

# left NAME SCRIPT: runs the script in a cell; its leaks are in $found.
left() {
	mkdir -p "$T/$1"
	"$HULL_TOP/test/cell" "$T/$1" 20 bash -c "$2" >"$T/$1/out" 2>&1
	found=$(cat "$T/$1/leaks")
}

left clean 'true'
same "a clean script leaves nothing" "" "$found$(cat "$T/clean/out")"
left process 'sleep 60 >/dev/null 2>&1 & disown; exit 0'
matches "a process that stays is seen" '^process [0-9]+ sleep 60' "$found"
left mount 'mkdir m; mount -t tmpfs x m'
matches "a mount that stays is seen" '^mount /.*/m$' "$found"
left link 'ip link add br7 type bridge'
matches "a bridge that stays is seen" '^link br7$' "$found"
left nft 'nft add table inet leak'
matches "an nft table that stays is seen" '^nft table inet leak$' "$found"
left file 'touch /tmp/litter'
matches "a temporary file that stays is seen" '^file /tmp/litter$' "$found"
left group 'for d in /sys/fs/cgroup/pids /sys/fs/cgroup; do mkdir $d/litter && break; done 2>/dev/null'
matches "a cgroup that stays is seen" '^cgroup .*litter$' "$found"
left lines 'echo "mount /foreign$" >foreign; mkdir foreign.d; mkdir -p x; mount -t tmpfs x x'
matches "what a peer leaves may be named, and nothing else passes" '^mount .*/x$' "$found"
