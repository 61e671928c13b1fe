# What the measurements share. They run in a cell (test/cell) like tests, in a directory $T of their
# own; each prints table rows with `row` and fails when a bar is missed.
# shellcheck shell=bash
# shellcheck source=test/lib.sh
. "$HULL_TOP/test/lib.sh"

# tool NAME [LIBRARY...]: the path of the program made of bench/NAME.c; static when it needs no library.
tool() {
	local dir="$HULL_BUILD/bench" name=$1
	shift
	if [ ! "$dir/$name" -nt "$HULL_TOP/bench/$name.c" ] || [ ! "$dir/$name" -nt "$HULL_TOP/bench/client.h" ]; then
		mkdir -p "$dir"
		cc -std=gnu17 -D_GNU_SOURCE -O2 -Wall -o "$dir/$name" "$HULL_TOP/bench/$name.c" \
			"${@:--static}" >&2 || return 1
	fi
	echo "$dir/$name"
}

# row WHAT ASKED MEASURED OK(0|1) [PEER...]
row() {
	printf '| %-44s | %-14s | %-22s | %-6s | %s |\n' "$1" "$2" "$3" \
		"$([ "$4" = 1 ] && echo yes || echo NO)" "${*:5}"
	if [ "$4" = 1 ]; then ok "$1: $3 (asked: $2)"; else not_ok "$1: $3 (asked: $2)"; fi
}

# holds EXPRESSION: 1 if awk finds it true, else 0.
holds() {
	awk "BEGIN { print ($1) ? 1 : 0 }" 2>/dev/null || echo 0
}

# ms MICROSECONDS
ms() {
	awk "BEGIN { printf \"%.2f\", $1 / 1000 }"
}

# certificate_of_admin: what the kubeconfig says who it is by, as $T/client-certificate and $T/client-key.
certificate_of_admin() {
	local part
	for part in client-certificate client-key; do
		sed -n "s/^ *$part-data: *//p" "$KUBECONFIG" | base64 -d >"$T/$part"
		[ -s "$T/$part" ] || cp "$(sed -n "s/^ *$part: *//p" "$KUBECONFIG")" "$T/$part" ||
			give_up "the administrator's $part is found"
	done
}
