#!/bin/bash
# hull-vm's control socket: a machine described, started, paused and asked by REST calls alone, in
# Firecracker's shapes.
# time: 200
# fixtures: kernel initramfs
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
"$HULL_TOP/test/fixtures" kernel initramfs || give_up "the kernel and its initramfs are there"
K="$HULL_CACHE/kernel/vmlinux" I="$HULL_CACHE/initramfs"
mkdir "$T/vm"
"$B/hull-vm" --dir "$T/vm" --control --id rest --accel cpu -q </dev/null >"$T/out" 2>&1 &
vm=$!
trap 'kill "$vm" 2>/dev/null || true; at_end' EXIT
within 10 test -S "$T/vm/control"
# call NAME STATUS REGEX METHOD PATH [BODY]
call() {
	local name=$1 status=$2 regex=$3
	shift 3
	out=$(curl -s -m 20 --unix-socket "$T/vm/control" -w '\n%{http_code}' -X "$1" ${3+-d "$3"} "http://localhost$2")
	same "$name" "$status" "${out##*$'\n'}"
	matches "... ($2)" "$regex" "${out%$'\n'*}"
}
call "description" 200 '"id":"rest","state":"Not started".*"app_name"' GET /
call "version" 200 '"firecracker_version"' GET /version
call "an unknown path" 400 '^\{"fault_message":' GET /nothing
call "start without a kernel" 400 'fault_message.*boot-source' PUT /actions '{"action_type":"InstanceStart"}'
call "machine-config" 204 '^$' PUT /machine-config '{"vcpu_count":2,"mem_size_mib":128}'
call "... part of it" 204 '^$' PATCH /machine-config '{"mem_size_mib":256}'
call "... is kept" 200 '"vcpu_count":2,"mem_size_mib":256' GET /machine-config
call "... nonsense is not" 400 "fault_message.*'vcpu_count'" PUT /machine-config '{"vcpu_count":"two","mem_size_mib":1}'
call "... nor is what is no JSON" 400 fault_message PUT /machine-config '{"vcpu'
call "a kernel that is not there" 204 '^$' PUT /boot-source '{"kernel_image_path":"/nonexistent"}'
call "... is told at the start" 400 "fault_message.*nonexistent" PUT /actions '{"action_type":"InstanceStart"}'
call "boot-source" 204 '^$' PUT /boot-source \
	"{\"kernel_image_path\":\"$K\",\"initrd_path\":\"$I\",\"boot_args\":\"console=ttyS0 quiet panic=-1 run=cat,/sys/bus/pci/devices/*/device;nproc;while,:;do,echo,tick;sleep,0.2;done\"}"
truncate -s 7M "$T/disk"
call "drives" 204 '^$' PUT /drives/data "{\"drive_id\":\"data\",\"path_on_host\":\"$T/disk\",\"is_root_device\":false,\"is_read_only\":true}"
call "vsock" 204 '^$' PUT /vsock '{"guest_cid":3,"uds_path":"v.sock"}'
call "the whole configuration" 200 '"drive_id":"data".*"v.sock"' GET /vm/config
call "pause before the start" 400 'not started' PATCH /vm '{"state":"Paused"}'
call "start" 204 '^$' PUT /actions '{"action_type":"InstanceStart"}'
within 60 grep -q tick "$T/out"
matches "it runs as described" '0x1042 0x1053 2 tick' "$(tr -d '\r' <"$T/out" | tr '\n' ' ')"
call "state" 200 '"state":"Running"' GET /
call "start twice" 400 fault_message PUT /actions '{"action_type":"InstanceStart"}'
call "configuration after the start" 400 'started' PUT /machine-config '{"vcpu_count":1,"mem_size_mib":128}'
call "pause" 204 '^$' PATCH /vm '{"state":"Paused"}'
call "... shows" 200 '"state":"Paused"' GET /
sleep 0.5
n=$(grep -c tick "$T/out")
sleep 1
same "... nothing runs" "$n" "$(grep -c tick "$T/out")"
call "resume" 204 '^$' PATCH /vm '{"state":"Resumed"}'
check "... it goes on" within 20 sh -c "[ \$(grep -c tick '$T/out') -gt $n ]"
call "what it used" 200 '"accel":"cpu".*"instructions":[1-9][0-9]*.*"disk_read_bytes"' GET /vm/stats
check "the vsock's socket is there" test -S "$T/vm/v.sock"
matches "the process has given up its rights" 'CapEff:.0000000000000000.*Seccomp:.'"$filter" "$(tr '\n' ' ' <"/proc/$vm/status")"
kill "$vm"
wait "$vm"
same "SIGTERM pulls the plug" 143 $?
