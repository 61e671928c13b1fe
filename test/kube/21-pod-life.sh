#!/bin/bash
# What a pod's life promises beyond running: hooks, grace, deadlines, sidecars, last words, volumes that
# follow their source, claims, and nothing left after a daemon that was not there.
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
ip link set lo up
cluster_up

# hooks
cat >"$T/hooks.yaml" <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: hooks}
spec:
  terminationGracePeriodSeconds: 20
  containers:
  - name: c
    image: busybox:latest
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "trap 'echo term >> /h/order; exit 0' TERM; while :; do sleep 0.1; done"]
    lifecycle:
      postStart: {exec: {command: [sh, -c, "echo post >> /h/order"]}}
      preStop: {exec: {command: [sh, -c, "echo pre >> /h/order"]}}
    volumeMounts: [{name: h, mountPath: /h}]
  volumes: [{name: h, hostPath: {path: HOST, type: DirectoryOrCreate}}]
YAML
sed -i "s|HOST|$T/hooks|" "$T/hooks.yaml"
apply "$T/hooks.yaml"
check "a pod with hooks" kc wait --for=condition=Ready pod/hooks --timeout=30s
same "postStart ran" post "$(cat "$T/hooks/order")"
kc delete pod hooks >/dev/null
same "preStop runs before TERM" "post pre term" "$(xargs <"$T/hooks/order")"

# last words, deadline
kc run words --image=busybox:latest --image-pull-policy=IfNotPresent --restart=Never -- \
	sh -c 'echo farewell > /dev/termination-log; exit 3' >/dev/null
check "a pod that fails" within 20 is Failed get words '{.status.phase}'
matches "its last words are told" farewell \
	"$(get words '{.status.containerStatuses[0].state.terminated.message}')"
apply <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  activeDeadlineSeconds: 1
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [sleep, "1000"]}
YAML
check "a pod beyond its deadline fails" within 20 is "Failed DeadlineExceeded" get late '{.status.phase} {.status.reason}'

# a sidecar starts first, and does not hold the end back
apply <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: side}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  initContainers:
  - name: proxy
    image: busybox:latest
    imagePullPolicy: IfNotPresent
    restartPolicy: Always
    command: [sh, -c, "touch /s/there; exec sleep 1000"]
    startupProbe: {exec: {command: [test, -f, /s/there]}, periodSeconds: 1}
    volumeMounts: [{name: s, mountPath: /s}]
  containers:
  - name: c
    image: busybox:latest
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "test -f /s/there && echo served"]
    volumeMounts: [{name: s, mountPath: /s}]
  volumes: [{name: s, emptyDir: {}}]
YAML
check "a pod with a sidecar ends" within 30 is Succeeded get side '{.status.phase}'
same "the sidecar was there before" served "$(kc logs side -c c)"

# volumes: live, parts, links that lead out
echo secret >"$T/outside"
cat >"$T/volumes.yaml" <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: {name: live}
data: {key: one}
---
apiVersion: v1
kind: Pod
metadata: {name: volumes}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - {name: trap, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [ln, -s, TARGET, /e/out],
     volumeMounts: [{name: e, mountPath: /e}]}
  containers:
  - name: c
    image: busybox:latest
    imagePullPolicy: IfNotPresent
    command: [sleep, "1000"]
    volumeMounts:
    - {name: live, mountPath: /live}
    - {name: live, mountPath: /part, subPath: key}
    - {name: memory, mountPath: /memory}
  - name: out
    image: busybox:latest
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "ls /out; sleep 1000"]
    volumeMounts: [{name: e, mountPath: /out, subPath: out}]
  volumes:
  - {name: e, emptyDir: {}}
  - {name: live, configMap: {name: live}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
YAML
sed -i "s|TARGET|$T|" "$T/volumes.yaml"
apply "$T/volumes.yaml"
check "volumes stand" within 30 is one kc exec volumes -c c -- cat /live/key
same "a part of one" one "$(kc exec volumes -c c -- cat /part)"
same "memory with a limit" 1024 "$(kc exec volumes -c c -- df -k /memory | awk 'END {print $2}')"
refuse "a link of a container does not lead its part out of the volume" \
	sh -c "'$KUBECTL' logs volumes -c out | grep -q outside"
apply <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: {name: live}
data: {key: two}
YAML
check "a changed map changes the file" within 20 is two kc exec volumes -c c -- cat /live/key
kc delete pod volumes --now >/dev/null
same "nothing of pods stays mounted" "" "$(grep "/pods/" /proc/self/mountinfo)"

# claims
cat >"$T/claim.yaml" <<'YAML'
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: claimed}
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [sh, -c, "echo x >> /d/f; wc -l < /d/f"],
     volumeMounts: [{name: d, mountPath: /d}]}
  volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]
YAML
apply "$T/claim.yaml"
check "a pod with a claim" within 30 is Succeeded get claimed '{.status.phase}'
same "the claim is bound" Bound "$(kc get pvc data -o 'jsonpath={.status.phase}')"
kc delete pod claimed >/dev/null
apply "$T/claim.yaml"
check "another pod" within 30 is Succeeded get claimed '{.status.phase}'
same "... finds what the first one wrote" 2 "$(kc logs claimed | xargs)"
kc delete pod claimed >/dev/null
check "the claim goes" kc delete pvc data --timeout=20s
check "its volume, too" within 20 is "" kc get pv -o name

# rights
apply <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: root}
spec:
  containers:
  - {name: c, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [sleep, "1000"],
     securityContext: {runAsNonRoot: true}}
YAML
check "an image that runs as root is refused where root is not allowed" within 20 \
	is CreateContainerConfigError get root '{.status.containerStatuses[0].state.waiting.reason}'
matches "... and what to change" 'set runAsUser' "$(kc describe pod root)"

# shared processes
apply <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: shared}
spec:
  shareProcessNamespace: true
  terminationGracePeriodSeconds: 1
  containers:
  - {name: one, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [sleep, "1001"]}
  - {name: two, image: "busybox:latest", imagePullPolicy: IfNotPresent, command: [sleep, "1002"]}
YAML
check "a pod that shares its processes" kc wait --for=condition=Ready pod/shared --timeout=30s
same "... sees all of them" "hull-init sleep 1001 sleep 1002" \
	"$(kc exec shared -c one -- sh -c 'for p in 1 2 3; do xargs -0 < /proc/$p/cmdline; done' | sort | xargs)"
kc exec shared -c one -- sh -c 'for p in 2 3; do grep -q 1002 /proc/$p/cmdline && kill $p; done' >/dev/null
check "one that ends is made again" within 30 is 1 get shared '{.status.containerStatuses[1].restartCount}'
same "... beside the other" 0 "$(get shared '{.status.containerStatuses[0].restartCount}')"

# a finalizer holds the object, not the containers
kc run held --image=busybox:latest --image-pull-policy=IfNotPresent -- sleep 1000 >/dev/null
check "a pod with a finalizer" kc wait --for=condition=Ready pod/held --timeout=30s
kc patch pod held --type=merge -p '{"metadata":{"finalizers":["example.org/hold"]}}' >/dev/null
kc delete pod held --now --wait=false >/dev/null
check "the object stays" kc get pod held -o name
kc patch pod held --type=merge -p '{"metadata":{"finalizers":null}}' >/dev/null
check "then it goes" within 20 is "" kc get pod held --ignore-not-found -o name

kc delete pod --all --now >/dev/null
check "all pods can be deleted" within 30 sh -c "[ -z \"\$('$KUBECTL' get pods -o name)\" ]"
