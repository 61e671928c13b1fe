#!/bin/bash
# Errors that explain themselves, at the runtime: one clear sentence and the right exit code each.
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
bundle "$T/c"
root="$T/c/rootfs"
n=0

# says NAME EXIT REGEX JQ_FILTER [ARG...]: `run` of that configuration ends so and says so, in one line.
says() {
	local name=$1 exit=$2 regex=$3 filter=$4
	shift 4
	n=$((n + 1))
	bundle "$T/c" "$filter" "$@" || give_up "the bundle for: $name"
	expect "$name" "$exit" "$regex" oci run -b "$T/c" "e$n"
	# shellcheck disable=SC2154 # expect sets it
	same "... in one line" 1 "$(sed '/^$/d' <<<"$out" | wc -l)"
	oci delete -f "e$n" >/dev/null 2>&1
}

file() {
	mkdir -p "$(dirname "$root$1")"
	printf '%b' "$2" >"$root$1"
	chmod "${3:-755}" "$root$1"
}
file /no-shebang 'echo hi\n'
file /bad-interpreter '#!/bin/nosuch -x\n'
file /crlf '#!/bin/sh\r\necho hi\r\n'
file /not-executable '#!/bin/sh\n' 644
file /empty ''
file /text-elf '\0177ELF\02\01\01junk'
mkdir -p "$root/a-directory"
# Another machine's program: our own static one with the machine number changed (183 is arm64).
cp "$(prog true)" "$root/arm" && printf '\267\000' | dd of="$root/arm" bs=1 seek=18 conv=notrunc 2>/dev/null
echo 'int main(void) { return 0; }' | cc -o "$root/dynamic" -xc -
mkdir -p "$root/lib64"

says "a program that is not there" 127 "'?nosuch'?.*(not found|no such|does not exist)" . nosuch
says "a path that is not there" 127 "/no/such.*(not found|no such|does not exist|is not)" . /no/such
says "an interpreter that is not there" '126|127' '/bad-interpreter.*/bin/nosuch' . /bad-interpreter
says "a script with CRLF lines" '126|127' '/crlf.*(CR ?LF|carriage return|line ending)' . /crlf
says "a program for another machine" 126 '/arm.*(arm64|aarch64)' . /arm
says "a dynamic program without its loader" '126|127' '/dynamic.*/lib64/ld-linux-x86-64' . /dynamic
says "a file that is not executable" 126 '/not-executable.*(not executable|permission|mode)' . /not-executable
says "a script without a first line that names its interpreter" 126 '/no-shebang' . /no-shebang
says "an empty file" 126 '/empty.*empty' . /empty
says "a broken program" 126 '/text-elf' . /text-elf
says "a directory" 126 '/a-directory.*directory' . /a-directory
says "a working directory that is a file" '125|126|127|1' '/crlf.*(not a directory|directory)' '.process.cwd = "/crlf"' /true
says "a source that is not there" '125|1' '/no/such/source' \
	'.mounts += [{destination: "/mnt", type: "bind", source: "/no/such/source", options: ["bind"]}]' /true
says "a root that is not there" '125|1' 'nosuchroot' '.root.path = "nosuchroot"' /true
says "a file system that is not known" '125|1' 'nosuchfs' \
	'.mounts += [{destination: "/mnt", type: "nosuchfs", source: "x"}]' /true
says "a capability that is not known" '125|1' 'CAP_NOSUCH' '.process.capabilities.bounding += ["CAP_NOSUCH"]' /true
says "a namespace that is not known" '125|1' 'nosuchns' '.linux.namespaces += [{type: "nosuchns"}]' /true
says "no arguments" '125|1' 'args' '.process.args = []' /true
says "a relative working directory" '125|1' 'cwd' '.process.cwd = "x"' /true
says "a wrong type in the configuration" '125|1' 'config.json.*process.*terminal|terminal.*config.json' '.process.terminal = "yes"' /true
says "a hook that fails" '125|1' '/bin/false' '.hooks = {createRuntime: [{path: "/bin/false"}]}' /true
says "a hook that does not end" '125|1' '/bin/sleep.*(longer|time|second)' \
	'.hooks = {createRuntime: [{path: "/bin/sleep", args: ["sleep", "60"], timeout: 1}]}' /true
bundle "$T/c" . /bin/sh -c 'exit 42'
expect "an exit code of its own is no error" 42 '^$' oci run -b "$T/c" code
bundle "$T/c" . /bin/sh -c 'sleep 1; while :; do :; done'
within 5 oci kill sig KILL &
expect "a process that is killed" 137 '' oci run -b "$T/c" sig
wait

printf '{\n  "ociVersion": "1.0.2",\n  "process": {\n    "args": ["x",]\n  }\n}\n' >"$T/c/config.json"
expect "bad JSON names file, line and place" '125|1' 'config\.json.*(line )?4|config\.json:4' oci run -b "$T/c" json
rm "$T/c/config.json"
expect "a bundle without configuration" '125|1' 'config\.json' oci run -b "$T/c" json
expect "a bundle that is not there" '125|1' '/nowhere' oci run -b "$T/nowhere" json
expect "a container that is not there" '125|1' "nosuch" oci start nosuch
expect "... state" '125|1' "nosuch" oci state nosuch
expect "... kill" '125|1' "nosuch" oci kill nosuch TERM
expect "a verb that is not there" '*' "nosuchverb" oci nosuchverb
refuse "... fails" oci nosuchverb
expect "a flag that is not there" '*' "nosuchflag" oci run --nosuchflag x
refuse "... fails" oci run --nosuchflag x
expect "checkpoint says that it is not supported" '*' 'not supported|unsupported' oci checkpoint x
refuse "... and fails" oci checkpoint x

# Memory: which limit, how much; at the start and later.
says "killed for memory while it runs" 137 'memory.*(limit|of).*(32|33554432)' \
	'.linux.resources.memory = {limit: 33554432, swap: 33554432}' /bin/sh -c 'x=x; while :; do x=$x$x; done'
exit 0
