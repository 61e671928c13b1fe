#!/bin/bash
# The fence: a room compiles only with the rooms of its row in src/meson.build.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"

# compiles ROOM HEADER: a file of that room that includes that header.
compiles() {
	printf '#include "%s"\nint x_in_%s;\n' "$2" "${1//\//_}" |
		cc -std=gnu17 -D_GNU_SOURCE -fsyntax-only -iquote "$B/fence/$1" -xc - 2>"$T/said"
}

# Each row: room, a header it may see, a header it must not see.
while read -r room may must_not; do
	check "$room may include $may" compiles "$room" "$may"
	refuse "$room must not include $must_not" compiles "$room" "$must_not"
	matches "... because it is not there ($room)" 'No such file' "$(cat "$T/said")"
done <<'ROWS'
ground/base    ground/base/err.h      ground/format/json.h
ground/linux   ground/base/own.h      ground/format/json.h
ground/format  ground/base/str.h      ground/linux/fd.h
virt/container ground/format/json.h   virt/keeper/keeper.h
virt/image     ground/base/err.h      virt/container/container.h
engine         ground/base/err.h      api/docker/docker.h
cli            ground/base/err.h      engine/engine.h
ROWS

# No way around it: a room's own directory is not on the path either.
refuse "a header is not found without its room" compiles ground/base own.h
