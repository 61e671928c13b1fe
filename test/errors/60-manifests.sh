#!/bin/bash
# Manifests with the mistakes that people make: the API says which field is wrong and what it takes, or
# the pod's status and Events say in one sentence what keeps it and what to change.
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
command -v kubectl >/dev/null || {
	ok "skipped: there is no kubectl"
	exit 0
}
cluster_up

# refused NAME REGEX KIND APIVERSION MEMBERS: a dry run of that manifest is refused so.
refused() {
	printf 'apiVersion: %s\nkind: %s\nmetadata: {name: %s}\n%s\n' "$4" "$3" "${object:-o}" "$5" >"$T/m.yaml"
	expect "$1" 1 "$2" kc create --dry-run=server -f "$T/m.yaml"
}
pod() { # NAME REGEX SPEC
	refused "$1" "The Pod \"o\" is invalid: .*$2" Pod v1 "spec: {$3}"
}
box() { # NAME REGEX MEMBERS of the one container
	pod "$1" "spec.containers\[0\]$2" "containers: [{name: x, image: i, $3}]"
}
volume() { # NAME REGEX MEMBERS of the one volume
	pod "$1" "spec.volumes\[0\]$2" "containers: [{name: x, image: i}], volumes: [{name: v, $3}]"
}

# --- containers ----------------------------------------------------------------------------------

pod "no containers" 'spec.containers: Required value' ''
pod "no image" 'spec.containers\[0\].image: Required value' 'containers: [{name: x}]'
pod "no name of a container" 'spec.containers\[0\].name: Required value' 'containers: [{image: i}]'
pod "an image with blanks" 'spec.containers\[0\].image: Invalid value: " i ": must not have leading or trailing whitespace' 'containers: [{name: x, image: " i "}]'
pod "a container twice" 'spec.containers\[1\].name: Duplicate value: "x"' 'containers: [{name: x, image: i}, {name: x, image: i}]'
pod "... also among init containers" 'spec.initContainers\[0\].name: Duplicate value: "x"' 'containers: [{name: x, image: i}], initContainers: [{name: x, image: i}]'
pod "a container in capitals" 'spec.containers\[0\].name: Invalid value: "X_y": a lowercase RFC 1123 label must consist of' 'containers: [{name: X_y, image: i}]'
box "port 0" '.ports\[0\].containerPort: Invalid value: 0: must be between 1 and 65535, inclusive' 'ports: [{containerPort: 0}]'
box "no port" '.ports\[0\].containerPort: Required value' 'ports: [{name: a}]'
box "a name of a port too long" '.ports\[0\].name: Invalid value: "toolongnameforaport": must be no more than 15 characters' 'ports: [{containerPort: 80, name: toolongnameforaport}]'
box "... of digits" '.ports\[0\].name: Invalid value: "80": must contain at least one letter' 'ports: [{containerPort: 80, name: "80"}]'
box "... given twice" '.ports\[1\].name: Duplicate value: "a"' 'ports: [{containerPort: 80, name: a}, {containerPort: 81, name: a}]'
box "a port of the node twice" '.ports\[1\].hostPort: Duplicate value: "TCP//80"' 'ports: [{containerPort: 80, hostPort: 80}, {containerPort: 81, hostPort: 80}]'
box "an unknown protocol" '.ports\[0\].protocol: Unsupported value: "FOO": supported values: "SCTP", "TCP", "UDP"' 'ports: [{containerPort: 80, protocol: FOO}]'
pod "another port on the host's network" 'containerPort: Invalid value: 80: must match `hostPort` when `hostNetwork` is true' 'containers: [{name: x, image: i, ports: [{containerPort: 80, hostPort: 81}]}], hostNetwork: true'
box "a policy of pulls" '.imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"' 'imagePullPolicy: Sometimes'
box "more asked for than allowed" '.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1' 'resources: {requests: {cpu: 2}, limits: {cpu: 1}}'
box "less than nothing" '.resources.requests\[cpu\]: Invalid value: "-1": must be greater than or equal to 0' 'resources: {requests: {cpu: -1}}'
box "a resource of no kind" '.resources.requests\[foo\]: Invalid value: "foo": must be a standard resource type or fully qualified' 'resources: {requests: {foo: 1}}'
box "a device without a limit" '.resources.limits: Required value: Limit must be set for non overcommitable resources' 'resources: {requests: {example.com/d: 1}}'
box "half a device" '.resources.limits\[example.com/d\]: Invalid value: "500m": must be an integer|must be an integer' 'resources: {limits: {example.com/d: 0.5}}'
box "a variable without name" '.env\[0\].name: Required value' 'env: [{value: a}]'
box "... with =" '.env\[0\].name: Invalid value: "a=b": a valid environment variable name' 'env: [{name: "a=b"}]'
box "... from nowhere" '.env\[0\].valueFrom: Invalid value: \{\}: must specify one of' 'env: [{name: A, valueFrom: {}}]'
box "... from two places" '.env\[0\].valueFrom: .*may not be specified when `value` is not empty' 'env: [{name: A, value: v, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]'
box "... from no field" '.env\[0\].valueFrom.fieldRef.fieldPath: Unsupported value: "foo.bar": supported values: "metadata.name"' 'env: [{name: A, valueFrom: {fieldRef: {fieldPath: foo.bar}}}]'
box "... from no resource" '.env\[0\].valueFrom.resourceFieldRef.resource: Unsupported value: "foo"' 'env: [{name: A, valueFrom: {resourceFieldRef: {resource: foo}}}]'
box "... from no key" '.env\[0\].valueFrom.configMapKeyRef.key: Required value' 'env: [{name: A, valueFrom: {configMapKeyRef: {name: a}}}]'
box "variables from nowhere" '.envFrom\[0\]: Invalid value: .*must specify one of: `configMapRef` or `secretRef`' 'envFrom: [{}]'
box "a probe that does nothing" '.livenessProbe: Required value: must specify a handler type' 'livenessProbe: {}'
box "... two things" '.livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type' 'livenessProbe: {httpGet: {port: 80}, exec: {command: [a]}}'
box "... without a port" '.livenessProbe.httpGet.port: Required value' 'livenessProbe: {httpGet: {path: /}}'
box "... on no port" '.livenessProbe.tcpSocket.port: Invalid value: 70000: must be between 1 and 65535' 'livenessProbe: {tcpSocket: {port: 70000}}'
box "... without a command" '.livenessProbe.exec.command: Required value' 'livenessProbe: {exec: {}}'
box "... less than now and then" '.livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0' 'livenessProbe: {tcpSocket: {port: 80}, periodSeconds: -1}'
box "... that lives twice" '.livenessProbe.successThreshold: Invalid value: 2: must be 1' 'livenessProbe: {tcpSocket: {port: 80}, successThreshold: 2}'
box "... of readiness that kills" '.readinessProbe.terminationGracePeriodSeconds: Invalid value: 2: must not be set for readinessProbes' 'readinessProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 2}'
box "a hook that does nothing" '.lifecycle.preStop: Required value: must specify a handler type' 'lifecycle: {preStop: {}}'
pod "a probe of what ends" 'spec.initContainers\[0\].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always' 'initContainers: [{name: a, image: i, livenessProbe: {tcpSocket: {port: 80}}}], containers: [{name: x, image: i}]'
box "a user below root" '.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647' 'securityContext: {runAsUser: -1}'
box "rights that exclude each other" '.securityContext: .*cannot set `allowPrivilegeEscalation` to false and `privileged` to true' 'securityContext: {privileged: true, allowPrivilegeEscalation: false}'

# --- volumes and the pod -------------------------------------------------------------------------

box "a mount of an unknown volume" '.volumeMounts\[0\].name: Not found: "v"' 'volumeMounts: [{name: v, mountPath: /x}]'
pod "two mounts in one place" 'volumeMounts\[1\].mountPath: Invalid value: "/x": must be unique' 'containers: [{name: x, image: i, volumeMounts: [{name: v, mountPath: /x}, {name: v, mountPath: /x}]}], volumes: [{name: v}]'
pod "a mount out of its volume" "volumeMounts\[0\].subPath: Invalid value: \"../y\": must not contain '..'" 'containers: [{name: x, image: i, volumeMounts: [{name: v, mountPath: /x, subPath: ../y}]}], volumes: [{name: v}]'
pod "a volume twice" 'spec.volumes\[1\].name: Duplicate value: "v"' 'containers: [{name: x, image: i}], volumes: [{name: v}, {name: v}]'
volume "a volume of two sources" '.hostPath: Forbidden: may not specify more than 1 volume type' 'emptyDir: {}, hostPath: {path: /}'
volume "... of a path that climbs" ".hostPath.path: Invalid value: \"/a/../b\": must not contain '..'" 'hostPath: {path: /a/../b}'
volume "... of no type" '.hostPath.type: Unsupported value: "foo"' 'hostPath: {path: /a, type: foo}'
volume "... of no config map" '.configMap.name: Required value' 'configMap: {}'
volume "... of no secret" '.secret.secretName: Required value' 'secret: {}'
volume "... of no claim" '.persistentVolumeClaim.claimName: Required value' 'persistentVolumeClaim: {}'
volume "... with a mode of no file" '.configMap.defaultMode: Invalid value: 9999: must be a number between 0 and 0777 \(octal\)' 'configMap: {name: a, defaultMode: 9999}'
volume "... of nothing put together" '.projected.sources\[0\]: Required value' 'projected: {sources: [{}]}'
volume "... of no field" '.downwardAPI.items\[0\].fieldRef.fieldPath: Unsupported value: "spec.foo"' 'downwardAPI: {items: [{path: x, fieldRef: {fieldPath: spec.foo}}]}'
c='containers: [{name: x, image: i}]'
pod "restarting in small letters" 'spec.restartPolicy: Unsupported value: "always": supported values: "Always", "Never", "OnFailure"' "$c, restartPolicy: always"
pod "no names at all" 'spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None' "$c, dnsPolicy: None"
pod "a node that cannot be" 'spec.nodeName: Invalid value: "Bad_Node"' "$c, nodeName: Bad_Node"
pod "a toleration of everything, said wrong" 'spec.tolerations\[0\].operator: Invalid value: "Equal": operator must be Exists when `key` is empty' "$c, tolerations: [{operator: Equal}]"
pod "a condition without values" 'matchExpressions\[0\].values: Required value: must be specified when `operator` is' "$c, affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In}]}]}}}"
pod "pods near each other, but where" 'topologyKey: Required value' "$c, affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {a: b}}}]}}"
pod "a weight of nothing" 'weight: Invalid value: 0: must be in the range 1-100' "$c, affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, podAffinityTerm: {topologyKey: a}}]}}"
pod "a deadline of nothing" 'spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647' "$c, activeDeadlineSeconds: 0"
pod "an address that is none" 'spec.hostAliases\[0\].ip: Invalid value: "foo": must be a valid IP address' "$c, hostAliases: [{ip: foo, hostnames: [a]}]"
pod "containers for later" 'spec.ephemeralContainers: Forbidden: cannot be set on create' "$c, ephemeralContainers: [{name: e, image: i}]"
refused "an account that is not there" 'pods "o" is forbidden: error looking up service account default/nosuch: serviceaccount "nosuch" not found' Pod v1 "spec: {$c, serviceAccountName: nosuch}"
refused "a priority that is not there" 'no PriorityClass with name nosuch was found' Pod v1 "spec: {$c, priorityClassName: nosuch}"
refused "a runtime that is not there" 'RuntimeClass "nosuch" not found' Pod v1 "spec: {$c, runtimeClassName: nosuch}"

# --- workloads -----------------------------------------------------------------------------------

t='template: {metadata: {labels: {a: b}}, spec: {containers: [{name: x, image: i}]}}'
s='selector: {matchLabels: {a: b}}'
deploy() { # NAME REGEX SPEC
	refused "$1" "The Deployment \"o\" is invalid: .*$2" Deployment apps/v1 "spec: {$3}"
}
deploy "a selector that misses" 'spec.template.metadata.labels: .*`selector` does not match template `labels`' "selector: {matchLabels: {a: c}}, $t"
deploy "no selector" 'spec.selector: Required value' "$t"
deploy "an empty selector" 'spec.selector: Invalid value: \{\}: empty selector is invalid for deployment' "selector: {}, $t"
deploy "no template" 'spec.template: Required value' "$s"
deploy "less than no replicas" 'spec.replicas: Invalid value: -1: must be greater than or equal to 0' "$s, replicas: -1, $t"
deploy "no pace" 'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0' "$s, strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}, $t"
deploy "more than all" 'maxUnavailable: Invalid value: "200%": must not be greater than 100%' "$s, strategy: {rollingUpdate: {maxUnavailable: 200%}}, $t"
deploy "a share that is none" 'a valid percent string must be a numeric string' "$s, strategy: {rollingUpdate: {maxSurge: foo}}, $t"
deploy "a pace of what has none" 'spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is' "$s, strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}, $t"
deploy "pods that end" 'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"' "$s, template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: x, image: i}]}}"
refused "a quantity that is none" 'quantities must match the regular expression' Deployment apps/v1 "spec: {$s, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: x, image: i, resources: {limits: {cpu: 1x}}}]}}}"
refused "a number as text" 'cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32' Deployment apps/v1 "spec: {$s, replicas: '3', $t}"
refused "a partition below nothing" 'spec.updateStrategy.rollingUpdate.partition: Invalid value: -1' StatefulSet apps/v1 "spec: {$s, serviceName: s, updateStrategy: {rollingUpdate: {partition: -1}}, $t}"
refused "a job that never ends" 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"' Job batch/v1 "spec: {$t}"
j='template: {spec: {restartPolicy: Never, containers: [{name: x, image: i}]}}'
refused "a job with a selector" '`selector` not auto-generated' Job batch/v1 "spec: {$s, $j}"
refused "a schedule of one field" 'spec.schedule: Invalid value: "foo": expected exactly 5 fields, found 1: \[foo\]' CronJob batch/v1 "spec: {schedule: foo, jobTemplate: {spec: {$j}}}"
refused "minute 99" 'minute 99 is out of range: it goes from 0 to 59' CronJob batch/v1 "spec: {schedule: '99 * * * *', jobTemplate: {spec: {$j}}}"
object=a-name-that-leaves-no-room-for-those-of-its-jobs-and-pods refused "a schedule's name too long" 'metadata.name: .*must be no more than 52 characters' CronJob batch/v1 "spec: {schedule: '* * * * *', jobTemplate: {spec: {$j}}}"
refused "a smaller most than least" 'spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`' HorizontalPodAutoscaler autoscaling/v2 'spec: {scaleTargetRef: {kind: Deployment, name: d}, minReplicas: 5, maxReplicas: 2}'
refused "a metric of nothing" 'spec.metrics\[0\].resource: Required value: must populate information for the given metric source' HorizontalPodAutoscaler autoscaling/v2 'spec: {scaleTargetRef: {kind: Deployment, name: d}, maxReplicas: 2, metrics: [{type: Resource}]}'
refused "a budget of both kinds" 'minAvailable and maxUnavailable cannot be both set' PodDisruptionBudget policy/v1 'spec: {minAvailable: 1, maxUnavailable: 1}'

# --- services, storage, rights -------------------------------------------------------------------

svc() { # NAME REGEX SPEC
	refused "$1" "The Service \"o\" is invalid: .*$2" Service v1 "spec: {$3}"
}
svc "a service without ports" 'spec.ports: Required value' ''
refused "ports without names" "^. spec.ports.1..name: Required value" Service v1 "spec: {ports: [{port: 80}, {port: 81}]}"
svc "a port twice" 'spec.ports\[1\]: Duplicate value: \{"port":80,"protocol":"TCP"\}' 'ports: [{port: 80, name: a}, {port: 80, name: b}]'
svc "a name of no port" 'spec.ports\[0\].targetPort: Invalid value: "Bad_Name": must contain only alpha-numeric' 'ports: [{port: 80, targetPort: Bad_Name}]'
svc "a node port of an inner service" "spec.ports\[0\].nodePort: Forbidden: may not be used when \`type\` is 'ClusterIP'" 'ports: [{port: 80, nodePort: 30000}]'
svc "a node port out of range" 'spec.ports\[0\].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767' 'type: NodePort, ports: [{port: 80, nodePort: 80}]'
svc "an address out of range" 'spec.clusterIPs: Invalid value: "1.2.3.4": failed to allocate IP 1.2.3.4: the provided IP is not in the valid range' 'clusterIP: 1.2.3.4, ports: [{port: 80}]'
svc "an address that is none" 'spec.clusterIPs\[0\]: Invalid value: "foo": must be a valid IP address' 'clusterIP: foo, ports: [{port: 80}]'
svc "balanced without address" "spec.clusterIPs\[0\]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services" 'type: LoadBalancer, clusterIP: None, ports: [{port: 80}]'
svc "another's name that is none" 'spec.externalName: Invalid value: "bad_host!"' 'type: ExternalName, externalName: bad_host!'
svc "no other's name" 'spec.externalName: Required value' 'type: ExternalName'
object=1st refused "a service's name" 'a DNS-1035 label must consist of' Service v1 'spec: {ports: [{port: 80}]}'
refused "a key with a slash" 'data\[a/b\]: Invalid value: "a/b": a valid config key must consist of' ConfigMap v1 'data: {a/b: c}'
refused "a number in a config map" 'cannot unmarshal number into Go struct field ConfigMap.data of type string' ConfigMap v1 'data: {a: 1}'
refused "a secret in plain text" 'illegal base64 data' Secret v1 'data: {a: "!!"}'
refused "half a certificate" 'data\[tls.key\]: Required value' Secret v1 'type: kubernetes.io/tls
data: {tls.crt: YQ==}'
refused "a claim of nothing" 'spec.accessModes: Required value: at least 1 access mode is required' PersistentVolumeClaim v1 'spec: {resources: {requests: {storage: 1Gi}}}'
refused "a volume of nothing" 'spec: Required value: must specify a volume type' PersistentVolume v1 'spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce]}'
refused "a quota of no kind" 'spec.hard\[foo\]: Invalid value: "foo": must be a standard resource type' ResourceQuota v1 'spec: {hard: {foo: 1}}'
refused "a least above the most" 'min value 2 is greater than max value 1' LimitRange v1 'spec: {limits: [{type: Container, max: {cpu: 1}, min: {cpu: 2}}]}'
refused "an ingress of nothing" 'either `defaultBackend` or `rules` must be specified' Ingress networking.k8s.io/v1 'spec: {}'
refused "a path that begins nowhere" 'path: Invalid value: "foo": must be an absolute path' Ingress networking.k8s.io/v1 'spec: {rules: [{http: {paths: [{path: foo, pathType: Prefix, backend: {service: {name: s, port: {number: 80}}}}]}}]}'
refused "a range that is none" 'cidr: Invalid value: "foo": must be a valid CIDR value' NetworkPolicy networking.k8s.io/v1 'spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: foo}}]}]}'
refused "rights to do nothing" 'rules\[0\].verbs: Required value' Role rbac.authorization.k8s.io/v1 'rules: [{apiGroups: [""], resources: [pods]}]'
refused "rights of no namespace" 'namespaced rules cannot apply to non-resource URLs' Role rbac.authorization.k8s.io/v1 'rules: [{nonResourceURLs: [/x], verbs: [get]}]'
refused "a binding to no role" 'roleRef.kind: Unsupported value: "Foo": supported values: "Role", "ClusterRole"' RoleBinding rbac.authorization.k8s.io/v1 'roleRef: {kind: Foo, name: x, apiGroup: rbac.authorization.k8s.io}'
refused "a priority of the system" 'maximum allowed value of a user defined priority is 1000000000' PriorityClass scheduling.k8s.io/v1 'value: 2000000000'

# --- names and kinds -----------------------------------------------------------------------------

refused "the wrong group" 'no matches for kind "Deployment" in version "v1"' Deployment v1 ''
refused "an unknown version" 'no matches for kind "Deployment" in version "apps/v1beta9"' Deployment apps/v1beta9 ''
refused "an unknown kind" 'no matches for kind "Foo" in version "v1"' Foo v1 ''
object=A_b refused "capitals" 'metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain must consist of' ConfigMap v1 ''
object=$(printf 'a%.0s' {1..300}) refused "a long name" 'must be no more than 253 characters' ConfigMap v1 ''
object='a, labels: {a: "b c"}' refused "a label with a blank" 'metadata.labels: Invalid value: "b c": a valid label must be an empty string or consist of' ConfigMap v1 ''
object='a, labels: {"a b": c}' refused "... in its name" 'metadata.labels: Invalid value: "a b": name part must consist of' ConfigMap v1 ''
object='a, generateName: A_' refused "a beginning in capitals" 'metadata.generateName: Invalid value: "A_"' ConfigMap v1 ''
object='a, namespace: nosuch' refused "a namespace that is not there" 'namespaces "nosuch" not found' ConfigMap v1 ''
object='a, ownerReferences: [{kind: a}]' refused "half an owner" 'metadata.ownerReferences\[0\].uid: Required value|uid: Required value' ConfigMap v1 ''
printf 'apiVersion: v1\nkind: ConfigMap\n' >"$T/m.yaml"
expect "no name" 1 'metadata.name: Required value: name or generateName is required' kc create -f "$T/m.yaml"
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: typo}\ndatta: {a: b}\n' >"$T/m.yaml"
expect "an unknown field is refused" 1 'strict decoding error: unknown field "datta"' kc create --validate=strict -f "$T/m.yaml"
expect "... told" 0 'Warning: unknown field "datta"' kc create --validate=warn --dry-run=server -f "$T/m.yaml"
expect "... or passed over" 0 '^configmap/typo created \(server dry run\)$' kc create --validate=ignore --dry-run=server -f "$T/m.yaml"
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: typo}\n\tdata: {a: b}\n' >"$T/m.yaml"
expect "a tab" 1 'found character that cannot start any token|error converting YAML' kc create -f "$T/m.yaml"

# --- what is taken but hardly meant --------------------------------------------------------------

# warned NAME REGEX SPEC: a pod that is made, with a warning.
warned() {
	printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: odd}\nspec: {%s}\n' "$3" >"$T/m.yaml"
	expect "$1" 0 "^Warning: $2" kc create --dry-run=server -f "$T/m.yaml"
}
warned "a port twice in one container" 'spec.containers\[0\].ports\[1\]: duplicate port definition with spec.containers\[0\].ports\[0\]' 'containers: [{name: x, image: i, ports: [{containerPort: 80}, {containerPort: 80}]}]'
warned "a variable twice" 'spec.containers\[0\].env\[1\]: hides previous definition of "A"' 'containers: [{name: x, image: i, env: [{name: A, value: a}, {name: A, value: b}]}]'
warned "a tenth of a byte" 'spec.containers\[0\].resources.limits\[memory\]: fractional byte value "100m" is invalid, must be an integer' 'containers: [{name: x, image: i, resources: {limits: {memory: 100m}}}]'
warned "a secret without name" 'spec.imagePullSecrets\[0\].name: invalid empty name ""' 'containers: [{name: x, image: i}], imagePullSecrets: [{}]'
printf 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: odd}\nspec: {%s, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: x, image: i, resources: {requests: {memory: 1m}}}]}}}\n' "$s" >"$T/m.yaml"
expect "... also in a template" 0 '^Warning: spec.template.spec.containers\[0\].resources.requests\[memory\]: fractional byte value' kc create --dry-run=server -f "$T/m.yaml"
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: odd, finalizers: [mine]}\n' >"$T/m.yaml"
expect "a finalizer of nobody" 0 '^Warning: metadata.finalizers: "mine": prefer a domain-qualified finalizer name' kc create --dry-run=server -f "$T/m.yaml"

# --- what may not change -------------------------------------------------------------------------

# kept NAME REGEX KIND APIVERSION MEMBERS FROM TO: made so, then applied with FROM turned into TO.
kept() {
	printf 'apiVersion: %s\nkind: %s\nmetadata: {name: kept}\n%s\n' "$4" "$3" "$5" >"$T/m.yaml"
	kc create -f "$T/m.yaml" >/dev/null
	sed -i "s|$6|$7|" "$T/m.yaml"
	expect "$1" 1 "$2" kc replace -f "$T/m.yaml"
	kc delete --wait=false -f "$T/m.yaml" >/dev/null 2>&1
}
kept "a selector stays" 'spec.selector: .*field is immutable' Deployment apps/v1 "spec: {replicas: 0, $s, $t}" '{a: b}' '{a: c}'
kept "a stateful set's service stays" 'updates to statefulset spec for fields other than' StatefulSet apps/v1 "spec: {replicas: 0, serviceName: one, $s, $t}" 'one' 'two'
kept "a job's pods stay" 'spec.template: .*field is immutable' Job batch/v1 "spec: {suspend: false, parallelism: 0, $j}" 'image: i' 'image: k'
kept "... and their number, in a job that waits" 'spec.completions: .*field is immutable' Job batch/v1 "spec: {suspend: true, completions: 5, $j}" 'completions: 5' 'completions: 6'
kept "what is immutable stays" 'field is immutable when `immutable` is set' ConfigMap v1 'immutable: true
data: {a: one}' one two
kept "a secret's type stays" 'type: .*field is immutable' Secret v1 'type: one' one two
kept "a role stays bound" 'cannot change roleRef' RoleBinding rbac.authorization.k8s.io/v1 'roleRef: {kind: Role, name: one, apiGroup: rbac.authorization.k8s.io}' one two
kept "a class keeps its provisioner" 'provisioner: .*(updates to provisioner are forbidden|field is immutable)' StorageClass storage.k8s.io/v1 'provisioner: example.com/a' com/a com/b
kept "a claim stays" 'spec is immutable after creation' PersistentVolumeClaim v1 'spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}' ReadWriteOnce ReadWriteMany
kept "a pod stays" 'pod updates may not change fields other than' Pod v1 'spec: {nodeSelector: {no: where}, containers: [{name: x, image: i, command: [one]}]}' one two

# --- pods that were taken ------------------------------------------------------------------------

b='image: busybox, imagePullPolicy: Never'
# sick NAME REGEX SPEC: a pod of that name; what its containers' states and its Events are to say.
declare -A says
sick() {
	says[$1]=$2
	printf -- '---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {%s}\n' "$1" "$3" >>"$T/sick.yaml"
}
sick no-image 'Container image "nosuch:1" is not present with pull policy of Never; load it first' 'containers: [{name: x, image: "nosuch:1", imagePullPolicy: Never}]'
sick no-registry 'Failed to pull image .*127.0.0.1:1: connection refused' 'containers: [{name: x, image: "127.0.0.1:1/nosuch:1"}]'
sick bad-image 'InvalidImageName|invalid reference format: repository name .* must be lowercase' 'containers: [{name: x, image: "Bad//Image:1"}]'
sick no-command "'nosuch': executable file not found in" "containers: [{name: x, $b, command: [nosuch]}]"
sick crash 'Back-off restarting failed container x in pod default/crash' "containers: [{name: x, $b, command: [sh, -c, 'exit 3']}]"
sick no-map 'configmap "nosuch" not found' "containers: [{name: x, $b, envFrom: [{configMapRef: {name: nosuch}}]}]"
sick no-secret 'secret "nosuch" not found' "containers: [{name: x, $b, env: [{name: A, valueFrom: {secretKeyRef: {name: nosuch, key: k}}}]}]"
sick no-key "couldn't find key k in ConfigMap default/kube-root-ca.crt" "containers: [{name: x, $b, env: [{name: A, valueFrom: {configMapKeyRef: {name: kube-root-ca.crt, key: k}}}]}]"
sick no-map-volume 'MountVolume.SetUp failed for volume "v": configmap "nosuch" not found' "containers: [{name: x, $b}], volumes: [{name: v, configMap: {name: nosuch}}]"
sick no-file 'references non-existent key "nosuch" of kube-root-ca.crt' "containers: [{name: x, $b}], volumes: [{name: v, configMap: {name: kube-root-ca.crt, items: [{key: nosuch, path: p}]}}]"
sick no-claim 'persistentvolumeclaim "nosuch" not found' "containers: [{name: x, $b}], volumes: [{name: v, persistentVolumeClaim: {claimName: nosuch}}]"
sick no-directory 'hostPath type check failed: /nosuch/dir is not a [Dd]irectory' "containers: [{name: x, $b}], volumes: [{name: v, hostPath: {path: /nosuch/dir, type: Directory}}]"
sick too-big '0/1 nodes are available: 1 Insufficient (cpu|memory).*It would fit with' "containers: [{name: x, $b, resources: {requests: {cpu: 1000, memory: 10Ti}}}]"
sick nowhere "0/1 nodes are available: 1 node\(s\) didn't match Pod's node affinity/selector" "containers: [{name: x, $b}], nodeSelector: {a: nosuch}"
sick bad-probe 'Liveness probe failed: Get http://[0-9.]*:81/: cannot connect: Connection refused' "containers: [{name: x, $b, command: [sleep, '100'], livenessProbe: {httpGet: {port: 81}, periodSeconds: 1, failureThreshold: 9}}], terminationGracePeriodSeconds: 1"
sick no-port "Readiness probe failed: .*port .*neither a number nor the name of one of the container's ports" "containers: [{name: x, $b, command: [sleep, '100'], readinessProbe: {httpGet: {port: nosuch}, periodSeconds: 1}}], terminationGracePeriodSeconds: 1"
sick as-root 'container has runAsNonRoot and image will run as root .*set runAsUser' "containers: [{name: x, $b, securityContext: {runAsNonRoot: true}}]"
sick no-right "unknown capability 'NOSUCH'" "containers: [{name: x, $b, securityContext: {capabilities: {add: [NOSUCH]}}}]"
sick bad-hook 'PostStartHook failed: command exited with code 1' "containers: [{name: x, $b, command: [sleep, '100'], lifecycle: {postStart: {exec: {command: ['false']}}}}], terminationGracePeriodSeconds: 1"
sick bad-start 'Back-off restarting failed container i in pod default/bad-start' "initContainers: [{name: i, $b, command: ['false']}], containers: [{name: x, $b}]"
sick out-of-memory 'OOMKilled' "containers: [{name: x, $b, command: [sh, -c, 'tail /dev/zero'], resources: {limits: {memory: 10Mi}}}]"
sick first-port 'Started container x' "containers: [{name: x, $b, command: [sleep, '100'], ports: [{containerPort: 80, hostPort: 8099}]}], terminationGracePeriodSeconds: 1"
kc create -f "$T/sick.yaml" >/dev/null
kc wait pod/first-port --for=condition=Ready --timeout=20s >/dev/null
sick second-port "1 node\(s\) didn't have free ports for the requested pod ports" "containers: [{name: x, $b, ports: [{containerPort: 80, hostPort: 8099}]}]"
kc apply -f "$T/sick.yaml" >/dev/null 2>&1
told() { # NAME REGEX
	kc describe pod "$1" | sed -n '/^Containers:/,$p' | grep -Eq -e "$2"
}
for name in "${!says[@]}"; do
	if within 20 told "$name" "${says[$name]}"; then
		ok "a pod says: $name"
	else
		not_ok "a pod says: $name" "not found: ${says[$name]}" "$(kc describe pod "$name" | sed -n '/^Containers:/,$p')"
	fi
done

# --- workloads whose pods are refused ------------------------------------------------------------

kc create ns poor >/dev/null
kc create quota q -n poor --hard=cpu=1,pods=5 >/dev/null
for kind in Deployment StatefulSet DaemonSet; do
	printf -- '---\napiVersion: apps/v1\nkind: %s\nmetadata: {name: %s, namespace: poor}\nspec: {%s, %s}\n' "$kind" "${kind,,}" "$s" "$t"
done >"$T/poor.yaml"
kc create -f "$T/poor.yaml" >/dev/null
kc create job job -n poor --image=i >/dev/null
for what in rs statefulset daemonset job; do
	within 20 eval "kc describe $what -n poor | grep -q 'FailedCreate.*failed quota: q: must specify cpu for:'"
	expect "a refused pod is told of its $what" 0 'FailedCreate .*pods "[a-z0-9-]*" is forbidden: failed quota: q: must specify cpu for: (x|job)' kc describe "$what" -n poor
done
down
