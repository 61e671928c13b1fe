# What tests of linux.resources share; sourced after test/lib.sh.
# shellcheck shell=bash
n=0

# group [CONTROLLER]: the directory of the bundle's cgroup; on v1, in that hierarchy.
group() {
	echo "/sys/fs/cgroup${1:+/$1}$(jq -r .linux.cgroupsPath "$T/c/config.json")"
}

# holds NAME RESOURCES FILE=VALUE...: with these resources the files of the cgroup hold these values.
# FILE is CONTROLLER/FILE on v1; the container is deleted again.
holds() {
	local name=$1 found="" wanted="" pair f c
	n=$((n + 1))
	bundle "$T/c" ".linux.resources += $2"
	shift 2
	if ! oci create -b "$T/c" "x$n" >"$T/out" 2>&1 </dev/null; then
		not_ok "$name" "$(cat "$T/out")"
		return
	fi
	for pair in "$@"; do
		f=${pair%%=*} c=""
		[[ $f != */* ]] || c=${f%/*}
		f=${f##*/}
		wanted+="$f=${pair#*=} "
		found+="$f=$(tr '\t\n' '  ' <"$(group "$c")/$f" | sed 's/ *$//') "
	done
	same "$name" "$wanted" "$found"
	oci delete -f "x$n" >/dev/null 2>&1
}
