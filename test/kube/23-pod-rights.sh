#!/bin/bash
# With which rights containers of pods run: users and groups, capabilities, system calls, read-only roots,
# namespaces of the host, sysctls; and where their variables and files come from.
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
ip link set lo up
cluster_up

# pod NAME SECURITY COMMAND [MORE]: runs the command once with this securityContext; MORE is of the pod's spec.
pod() {
	apply <<-YAML
	apiVersion: v1
	kind: Pod
	metadata: {name: $1}
	spec:
	  restartPolicy: Never
	  terminationGracePeriodSeconds: 1
	  containers:
	  - {name: c, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [sh, -c, "$3"], securityContext: $2}
	${4-}
	YAML
}

# says NAME: what it printed, once it has ended.
says() {
	within 30 sh -c "'$KUBECTL' get pod $1 -o 'jsonpath={.status.phase}' | grep -Eq 'Succeeded|Failed'"
	kc logs "$1" 2>&1 | tr '\n\t' '  ' | sed 's/  */ /g; s/ $//'
}

waits_for() {
	kc get pod "$1" -o 'jsonpath={.status.containerStatuses[0].state.waiting.reason}'
}

pod user '{runAsUser: 1000, runAsGroup: 2000}' 'id -u; id -g; id -G' \
	'  securityContext: {supplementalGroups: [3000], fsGroup: 4000}'
pod caps '{capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}' 'grep CapEff /proc/self/status'
pod nonew '{allowPrivilegeEscalation: false}' 'grep NoNewPrivs /proc/self/status'
pod fixed '{readOnlyRootFilesystem: true}' 'touch /x || echo refused'
pod filter '{}' 'grep Seccomp: /proc/self/status'
pod nofilter '{seccompProfile: {type: Unconfined}}' 'grep Seccomp: /proc/self/status'
pod all '{privileged: true}' 'ls -d /dev/null /dev/full; grep CapEff /proc/self/status'
pod host '{}' 'hostname; ls /proc | grep -c ^1$; ip -o link show' $'  hostNetwork: true\n  hostPID: true'
pod turned '{}' 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start' \
	'  securityContext: {sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "1"}]}'
same "a user and its groups" "1000 2000 2000 3000 4000" "$(says user)"
same "capabilities" "CapEff: 0000000000000400" "$(says caps)"
same "no new privileges" "NoNewPrivs: 1" "$(says nonew)"
matches "a root that is only read" 'Read-only file system refused' "$(says fixed)"
same "a filter of system calls" "Seccomp: 2" "$(says filter)"
same "... and none" "Seccomp: 0" "$(says nofilter)"
matches "a privileged one" '/dev/full /dev/null CapEff: 000001f+' "$(says all)"
matches "the host's network and processes" ' 1 .*lo: ' "$(says host)"
same "... its address is the node's" "$(kc get nodes -o 'jsonpath={.items[0].status.addresses[0].address}')" "$(get host '{.status.podIP}')"
same "a sysctl" 1 "$(says turned)"
pod evil '{}' true '  securityContext: {sysctls: [{name: kernel.panic, value: "1"}]}'
check "a sysctl of the node is refused" within 20 sh -c "'$KUBECTL' describe pod evil | grep -q 'kernel.panic.*namespace'"
pod numb '{runAsNonRoot: true, runAsUser: 0}' true
check "root where root is not allowed" within 20 is CreateContainerConfigError waits_for numb
pod nofile '{seccompProfile: {type: Localhost, localhostProfile: nowhere.json}}' true
check "a profile that is not there" within 20 is CreateContainerConfigError waits_for nofile
matches "... names the file" 'nowhere.json' "$(kc describe pod nofile)"
mkdir -p "$T/hull/root/seccomp"
cat >"$T/hull/root/seccomp/nomkdir.json" <<'JSON'
{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}
JSON
pod localfile '{seccompProfile: {type: Localhost, localhostProfile: nomkdir.json}}' 'mkdir /x || touch /y && ls /y'
matches "a profile of the node's" 'not permitted /y' "$(says localfile)"

# where variables and files come from
kc create configmap settings --from-literal=greeting=hello --from-literal=bad-name=x >/dev/null
kc create secret generic hidden --from-literal=word=swordfish >/dev/null
apply <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: sources}
spec:
  restartPolicy: Never
  securityContext: {fsGroup: 4000}
  containers:
  - name: c
    image: busybox:latest
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "env | sort; cat /all/word /all/greeting; stat -L -c '%a %u %g' /only/word; ls /all; touch /mine/x; stat -c %g /mine/x"]
    securityContext: {runAsUser: 1000}
    envFrom:
    - {configMapRef: {name: settings}, prefix: S_}
    - {secretRef: {name: hidden}}
    - {configMapRef: {name: absent, optional: true}}
    env:
    - {name: ONE, valueFrom: {configMapKeyRef: {name: settings, key: greeting}}}
    - {name: NONE, valueFrom: {secretKeyRef: {name: hidden, key: none, optional: true}}}
    volumeMounts:
    - {name: all, mountPath: /all}
    - {name: only, mountPath: /only}
    - {name: mine, mountPath: /mine}
  volumes:
  - {name: all, projected: {sources: [{configMap: {name: settings}}, {secret: {name: hidden}}]}}
  - {name: only, secret: {secretName: hidden, defaultMode: 0440}}
  - {name: mine, emptyDir: {}}
YAML
told=$(says sources)
matches "a map's members as variables" 'S_greeting=hello' "$told"
matches "a secret's" 'word=swordfish' "$told"
matches "one member" 'ONE=hello' "$told"
refuse "an optional one that is not there is left out" grep -q NONE <<<"$told"
matches "several sources in one folder" 'swordfishhello' "$told"
matches "a mode, and the group of the pod's files" '440 0 4000' "$told"
matches "... of what it makes" '4000$' "$told"
apply <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: lacks}
spec:
  containers:
  - {name: c, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [sleep, "1000"],
     env: [{name: X, valueFrom: {configMapKeyRef: {name: absent, key: x}}}]}
YAML
check "a map that is not there holds the container back" within 20 is CreateContainerConfigError waits_for lacks
matches "... and describe names it" 'configmap "absent" not found' "$(kc describe pod lacks)"
kc create configmap absent --from-literal=x=1 >/dev/null
check "... until it is made" kc wait --for=condition=Ready pod/lacks --timeout=60s

# names
apply <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: named}
spec:
  hostname: called
  subdomain: family
  restartPolicy: Never
  hostAliases: [{ip: 192.0.2.7, hostnames: [seven, sieben]}]
  dnsPolicy: None
  dnsConfig: {nameservers: [192.0.2.53], searches: [one.test, two.test], options: [{name: ndots, value: "3"}]}
  containers:
  - {name: c, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [sh, -c, "hostname; cat /etc/hosts /etc/resolv.conf"]}
YAML
told=$(says named)
matches "its host name" '^called ' "$told"
matches "... with its family" 'called.family.default.svc.cluster.local' "$told"
matches "names of others" '192.0.2.7 seven sieben' "$told"
matches "its resolver" 'nameserver 192.0.2.53 search one.test two.test options ndots:3|search one.test two.test nameserver 192.0.2.53 options ndots:3' "$told"
down
