#!/bin/bash
# Every verb on objects, as kubectl's users know its words: what is made, shown, changed and removed,
# what is refused, and how it is said. No pods run here; those have a script of their own (13).
# time: 240
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
command -v kubectl >/dev/null || {
	ok "skipped: there is no kubectl"
	exit 0
}
cluster_up
mkdir "$T/m"

# one EXIT REGEX ARG...: kubectl with these words, which name the case too.
one() {
	local exit=$1 regex=$2
	shift 2
	expect "$*" "$exit" "$regex" kc "$@"
}

# --- create: every generator ---------------------------------------------------------------------

openssl req -x509 -newkey rsa:2048 -nodes -keyout "$T/m/key" -out "$T/m/crt" -subj /CN=x -days 2 2>/dev/null
printf 'A=1\nB=2\n' >"$T/m/env"
made() { # WHAT ARG...
	local what=$1
	shift
	expect "create $1 ${2-}" 0 "^$what created$" kc create "$@"
}
made clusterrole.rbac.authorization.k8s.io/cr clusterrole cr --verb=get,list --resource=pods
made clusterrole.rbac.authorization.k8s.io/pages clusterrole pages --verb=get --non-resource-url='/logs/*'
made clusterrole.rbac.authorization.k8s.io/agg clusterrole agg --aggregation-rule=rbac.example.com/x=true
made clusterrolebinding.rbac.authorization.k8s.io/crb clusterrolebinding crb --clusterrole=cr --user=u --group=g --serviceaccount=default:default
made configmap/files configmap files --from-file="$T/m/env" --from-literal=a=b
made configmap/env configmap env --from-env-file="$T/m/env"
made cronjob.batch/cj cronjob cj --image=busybox --schedule='0 0 1 1 *' -- date
made job.batch/manual job manual --from=cronjob/cj
made deployment.apps/two deployment two --image=nginx --image=busybox --replicas=0
made deployment.apps/web deployment web --image=nginx --port=80 --replicas=0
made ingress.networking.k8s.io/ing ingress ing '--rule=foo.com/bar=svc1:8080,tls=cert' --class=default
made ingress.networking.k8s.io/back ingress back --default-backend=def:http '--rule=foo.com/*=svc:8080'
made namespace/n namespace n
made poddisruptionbudget.policy/half poddisruptionbudget half --selector=app=x --min-available=50%
made priorityclass.scheduling.k8s.io/pc priorityclass pc --value=1000 --preemption-policy=Never --description=hi
made resourcequota/q quota q --hard=secrets=100 -n n
made role.rbac.authorization.k8s.io/r role r --verb=get --resource=deployments.apps/scale,pods --resource-name=a
made rolebinding.rbac.authorization.k8s.io/rb rolebinding rb --role=r --user=u
made secret/plain secret generic plain --from-literal=x=y --type=foo
made secret/pull secret docker-registry pull --docker-server=a --docker-username=b --docker-password=c
made secret/tls secret tls tls --cert="$T/m/crt" --key="$T/m/key"
made service/inner service clusterip inner --tcp=80:8080
made service/bare service clusterip bare --clusterip=None
made service/outer service nodeport outer --tcp=80:8080 --node-port=30080
made service/balanced service loadbalancer balanced --tcp=80
made service/other service externalname other --external-name=bar.com
made serviceaccount/acc serviceaccount acc
expect "create token" 0 '^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$' kc create token acc --duration=10m --audience=a
one 1 'the server doesn.t have a resource type "nosuch"' create role r4 --verb=get --resource=nosuch

# --- get -----------------------------------------------------------------------------------------

one 0 '^two +0/0 +0 +0 +[0-9]+s +nginx,busybox +nginx,busybox +app=two$' get deploy two -o wide
one 0 '^web +.* app=web$' get deploy --show-labels
one 0 '^service/inner +ClusterIP' get svc/inner cm/env
one 0 'outer +NodePort +10.96.[0-9.]+ +<none> +80:30080/TCP' get svc outer
one 0 'other +ExternalName +<none> +bar.com +<none>' get svc other
one 0 '^ing +default +foo.com +80, 443' get ing
one 0 '^half +50% +N/A +0 |^half +50% +<none> +0 ' get pdb
one 0 '^cj +0 0 1 1 \* +<none> +False +|^cj +0 0 1 1 \* +<none> +false +0 +<none>' get cj
one 0 '^pc +1000 +false +[0-9]+s +Never' get pc
one 0 '^kubernetes.io/tls$' get secret tls -o 'jsonpath={.type}'
one 0 '^env$' get cm env -o 'go-template={{.metadata.name}}'
one 0 '^web +nginx' get deploy web -o 'custom-columns=N:.metadata.name,I:.spec.template.spec.containers[*].image' --no-headers
one 0 '^deployment.apps/web$' get deploy -l app=web -o name
one 1 'deployments.apps "nosuch" not found' get deploy web nosuch
one 0 '^No resources found in n namespace.$' get deploy -n n
one 0 '^$' get deploy nosuch --ignore-not-found
one 1 'field label not supported: spec.foo' get pods --field-selector=spec.foo=x
one 1 'unable to parse requirement' get pods -l 'a in (b'
one 1 'error parsing jsonpath' get deploy web -o 'jsonpath={bad'
one 0 '^kind: Scale' get deploy web --subresource=scale -o yaml
one 1 'could not find the requested resource|invalid subresource value' get deploy web --subresource=nosuch
one 0 'Warning: v1 Endpoints is deprecated in v1.33\+; use discovery.k8s.io/v1 EndpointSlice' get endpoints
one 0 'Warning: v1 ComponentStatus is deprecated in v1.19\+' get cs
expect "get of everything" 0 '^done$' bash -c "for r in \$('$KUBECTL' api-resources --verbs=list -o name); do
	'$KUBECTL' get \$r -A -o wide >/dev/null 2>&1 || echo \$r; done; echo done"
same "... of each kind" 1 "$(wc -l <<<"$out")"
expect "describe of everything" 0 '^done$' bash -c "for r in \$('$KUBECTL' api-resources --verbs=list -o name | grep -v metrics); do
	'$KUBECTL' describe \$r -A >/dev/null 2>&1 || echo \$r; done; echo done"
same "... of each kind" 1 "$(wc -l <<<"$out")"
one 0 'RenewTime: +[A-Z]' describe node
one 0 'Resource +Used +Hard|Used *Hard' describe quota q -n n

# --- apply, diff, prune --------------------------------------------------------------------------

cat >"$T/m/w.yaml" <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {set: w}}
data: {x: "1"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, labels: {set: w}}
spec:
  replicas: 0
  selector: {matchLabels: {a: d}}
  template: {metadata: {labels: {a: d}}, spec: {containers: [{name: x, image: busybox}]}}
YAML
sed 1,5d "$T/m/w.yaml" >"$T/m/less.yaml"
kc config set-context --current --namespace=n >/dev/null
one 0 'configmap/a created \(dry run\)' apply -f "$T/m/w.yaml" --dry-run=client
one 0 'deployment.apps/d created \(server dry run\)' apply -f "$T/m/w.yaml" --dry-run=server
one 1 'configmaps "a" not found' get cm a
one 0 '^deployment.apps/d created' apply -f "$T/m/w.yaml"
one 0 'deployment.apps/d unchanged \(server dry run\)' apply -f "$T/m/w.yaml" --dry-run=server
one 0 'image: busybox' apply view-last-applied deploy d
one 0 '^$' diff -f "$T/m/w.yaml"
expect "diff of a change" 1 '^[+] *- image: nosuch:1' kc diff -f <(sed s/busybox/nosuch:1/ "$T/m/w.yaml")
one 0 'configmap/a pruned' apply -f "$T/m/less.yaml" --prune -l set=w --prune-allowlist=core/v1/ConfigMap
one 0 'configmap/a created' apply -f "$T/m/w.yaml"
one 1 'this server has no server-side apply, apply without --server-side' apply --server-side -f "$T/m/less.yaml"

# --- patch, label, annotate, edit, replace -------------------------------------------------------

one 0 '^scale.autoscaling/d patched' patch deploy d --subresource=scale --type=merge -p '{"spec":{"replicas":0}}'
one 1 'patch: Invalid value: .*the patch names ./spec/nosuch., which the object does not have' patch deploy d --type=json -p '[{"op":"remove","path":"/spec/nosuch"}]'
one 1 'testing value ./spec/replicas. failed' patch deploy d --type=json -p '[{"op":"test","path":"/spec/replicas","value":77}]'
one 1 'BadRequest.*the patch is not a list of operations' patch deploy d --type=json -p '{"op":"test"}'
one 1 'spec.selector: Invalid value: .*field is immutable' patch deploy d -p '{"spec":{"selector":{"matchLabels":{"x":"y"}}}}'
one 1 'The Deployment "d" is invalid: patch: .*cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32' patch deploy d -p '{"spec":{"replicas":"x"}}'
one 0 'Warning: unknown field "spec.foo"' patch deploy d -p '{"spec":{"foo":"x"}}'
one 1 'BadRequest.*not JSON' patch deploy d -p '{"spec":'
one 1 'deployments.apps "nosuch" not found' patch deploy nosuch -p '{}'
one 0 labeled label deploy d z=1
one 1 "'z' already has a value \(1\), and --overwrite is false" label deploy d z=2
one 0 labeled label deploy d z=2 --overwrite
one 0 unlabeled label deploy d z-
one 0 'label "nosuch" not found' label deploy d nosuch-
one 1 'The Deployment "d" is invalid: metadata.labels: Invalid value: "bad key"' label deploy d 'bad key=1'
one 1 'invalid label value' label deploy d 'k=bad value'
one 1 'the object has been modified' label deploy d q=3 --resource-version=1
one 0 'annotate' annotate deploy d why=because
editor() { # SED
	printf '#!/bin/sh\nsed -i "%s" "$1"\n' "$1" >"$T/m/editor"
	chmod 755 "$T/m/editor"
	export EDITOR="$T/m/editor"
}
editor 's/revisionHistoryLimit: 10/revisionHistoryLimit: 9/'
one 0 'deployment.apps/d edited' edit deploy d
editor ''
one 0 'Edit cancelled, no changes made' edit deploy d
editor 's/^  name: d/  name: e/'
one 1 'At least one of apiVersion, kind and name was changed' edit deploy d
editor 's/replicas: 0/replicas: x/'
one 1 'deployments.apps "d" is invalid' edit deploy d
unset EDITOR
kc get deploy d -o yaml | sed /resourceVersion:/d >"$T/m/d.yaml"
one 0 'deployment.apps/d replaced' replace -f "$T/m/d.yaml"
expect "replace of another" 1 'Precondition failed: UID in precondition' kc replace -f <(sed 's/uid: .*/uid: bad/' "$T/m/d.yaml")
expect "replace of none" 1 'deployments.apps "zzz" not found' kc replace -f <(sed 's/  name: d$/  name: zzz/' "$T/m/d.yaml")
one 0 'deployment.apps/d replaced' replace --subresource=status -f "$T/m/d.yaml"
one 0 'deployment.apps/d replaced' replace --force -f "$T/m/less.yaml"

# A service changes its type: what was of the old one alone goes.
kc create service loadbalancer moves --tcp=80 >/dev/null
one 0 patched patch svc moves -p '{"spec":{"externalTrafficPolicy":"Local"}}'
one 0 patched patch svc moves -p '{"spec":{"type":"ClusterIP"}}'
same "... leaves nothing of it" "ClusterIP   " "$(kc get svc moves -o \
	'jsonpath={.spec.type} {.spec.externalTrafficPolicy} {.spec.allocateLoadBalancerNodePorts} {.spec.ports[0].nodePort}')"
one 0 patched patch svc moves -p '{"spec":{"type":"NodePort"}}'
one 0 'moves +NodePort .* 80:3[0-9]+/TCP' get svc moves

# --- scale, set, rollout -------------------------------------------------------------------------

one 1 'Expected replicas to be 5, was 0' scale deploy d --replicas=1 --current-replicas=5
one 0 'deployment.apps/d scaled' scale deploy d --replicas=0
one 1 'the server could not find the requested resource' scale --replicas=1 cm/a
one 0 'horizontalpodautoscaler.autoscaling/hh autoscaled' autoscale deploy d --max=3 --name=hh
one 0 'service/dd exposed' expose deploy d --port=80 --name=dd --type=NodePort --target-port=8080 --protocol=UDP
one 0 'service/d2 exposed' expose svc dd --port=9 --name=d2
one 1 "couldn't find port via --port flag or introspection" expose deploy d
one 0 'image updated' set image deploy/d x=busybox:2
one 1 'unable to find container named "nosuch"' set image deploy/d nosuch=3
one 0 'env updated' set env deploy/d A=B C=D
one 0 '^C=D$' set env deploy/d --list
one 0 'env updated' set env deploy/d --from=configmap/a --prefix=P_
one 0 'resource requirements updated' set resources deploy d --limits=cpu=200m,memory=512Mi --requests=cpu=100m
one 1 'must be less than or equal to cpu limit of 200m' set resources deploy d --requests=cpu=300m
one 0 'serviceaccount updated' set serviceaccount deploy d acc
one 0 'selector updated' set selector svc dd a=b
kc create rolebinding rb --role=r --user=u >/dev/null
one 0 'subjects updated' set subject rolebinding rb --user=u2 --group=g
within 10 eval 'kc rollout history deploy d | grep -q "^6 "'
one 0 '^6 +<none>' rollout history deploy d
one 0 'Image:.busybox:2' rollout history deploy d --revision=2
one 0 'deployment.apps/d rolled back' rollout undo deploy d
one 0 'deployment.apps/d rolled back' rollout undo deploy d --to-revision=1
one 1 'unable to find specified revision 99 in history' rollout undo deploy d --to-revision=99
one 0 'deployment.apps/d paused' rollout pause deploy d
one 1 'deployments.apps "d" is already paused' rollout pause deploy d
one 0 'deployment.apps/d resumed' rollout resume deploy d
one 0 'deployment.apps/d restarted' rollout restart deploy d
one 0 'deployment "d" successfully rolled out' rollout status deploy d --timeout=20s

# --- rights, certificates, what there is ---------------------------------------------------------

one 0 '^yes' auth can-i create pods
one 1 '^no' auth can-i list pods --as=joe
one 0 '^\*\.\* +\[\] +\[\] +\[\*\]' auth can-i --list
one 0 'Username +kubernetes-admin' auth whoami
kc create role rec --verb=get --resource=pods --dry-run=client -o yaml --namespace=n >"$T/m/rec.yaml"
one 0 'reconciliation required create' auth reconcile -f "$T/m/rec.yaml"
openssl req -new -newkey rsa:2048 -nodes -keyout "$T/m/ck" -subj /CN=joe/O=dev -out "$T/m/cr" 2>/dev/null
for who in joe jim; do
	printf 'apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: %s}\nspec: {request: %s, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}\n' \
		"$who" "$(base64 -w0 "$T/m/cr")" >"$T/m/$who.yaml"
	kc create -f "$T/m/$who.yaml" >/dev/null
done
one 0 '^joe +[0-9]+s +kubernetes.io/kube-apiserver-client +kubernetes-admin +<none> +Pending' get csr
one 0 'certificatesigningrequest.certificates.k8s.io/joe approved' certificate approve joe
one 0 'certificatesigningrequest.certificates.k8s.io/jim denied' certificate deny jim
one 0 '^jim .* Denied' get csr jim
within 10 eval 'kc get csr joe -o "jsonpath={.status.certificate}" | grep -q .'
kc get csr joe -o 'jsonpath={.status.certificate}' | base64 -d >"$T/m/joe.crt"
matches "a certificate that was approved says who" 'User \\"joe\\" cannot list resource \\"pods\\"' \
	"$(curl -sk --cert "$T/m/joe.crt" --key "$T/m/ck" https://127.0.0.1:6443/api/v1/pods)"
openssl req -new -key "$T/m/ck" -subj /CN=evil/O=system:masters -out "$T/m/cr" 2>/dev/null
sed "s/name: joe/name: evil/; s|request: [^,]*|request: $(base64 -w0 "$T/m/cr")|" "$T/m/joe.yaml" >"$T/m/evil.yaml"
kc create -f "$T/m/evil.yaml" >/dev/null
kc certificate approve evil >/dev/null
within 10 eval 'kc get csr evil -o yaml | grep -q Failed'
expect "nobody becomes an administrator so" 0 'system:masters group is not allowed' kc get csr evil -o 'jsonpath={.status.conditions[*].message}'
one 1 '"nosuch" not found' certificate approve nosuch
one 0 '^FIELD: schedule <string>' explain cj.spec.schedule
one 1 'field "nosuch" does not exist' explain pod.spec.nosuch
one 0 '^KIND: +Pod' explain pod --output=plaintext-openapiv2
one 0 'spec.*<PodSpec>|FIELDS' explain pod --recursive
one 0 '^Kubernetes control plane is running at https://127.0.0.1:6443|control plane' cluster-info
one 0 'Server Version:.*v1.33' version
one 0 'DATA\+OMITTED|REDACTED' config view
one 0 '^tls|create,delete,deletecollection,get,list,patch,update,watch' api-resources --api-group=apps -o wide

# --- taints, delete ------------------------------------------------------------------------------

node=$(kc get node -o 'jsonpath={.items[0].metadata.name}')
one 0 tainted taint node "$node" a=b:PreferNoSchedule
one 1 'already has a taint' taint node "$node" a=b:PreferNoSchedule
one 0 modified taint node "$node" a=c:PreferNoSchedule --overwrite
one 0 untainted taint node "$node" a-
one 1 'taint "a" not found' taint node "$node" a-
one 0 cordoned cordon "$node"
one 0 'already cordoned' cordon "$node"
one 0 'Ready,SchedulingDisabled' get node "$node"
one 0 uncordoned uncordon "$node"

one 1 'invalid cascade value' delete deploy d --cascade=bogus
one 0 'deployment.apps "d" deleted \(server dry run\)' delete deploy d --dry-run=server
kc scale deploy d --replicas=0 >/dev/null
one 0 '^deployment.apps "d" deleted' delete deploy d --cascade=orphan
expect "what it made stays" 0 '^replicaset.apps/d-' kc get rs -l a=d -o name
one 0 'replicaset.apps "d-.*" deleted' delete rs -l a=d --cascade=foreground
one 0 '^$' delete cm nosuch --ignore-not-found
one 1 'configmaps "x1" not found' delete cm x1 x2
one 0 '^configmap/a$' delete cm a -o name
one 0 '^No resources found$' delete cm -l no=such
one 0 '"status":"Success"' delete --raw /apis/apps/v1/namespaces/n/controllerrevisions
one 0 'namespace "n" deleted' delete ns n
one 1 'namespaces "n" not found' get ns n

# --- over HTTP -----------------------------------------------------------------------------------

"$KUBECTL" proxy --port=8001 >/dev/null 2>&1 </dev/null &
proxy=$!
at=http://127.0.0.1:8001
within 10 curl -sf $at/readyz
yaml() { # NAME CODE REGEX TEXT
	local said
	said=$(curl -s -w '\n%{http_code}' -H 'Content-Type: application/yaml' --data-binary "$4" "$at/api/v1/namespaces/default/configmaps?fieldValidation=Strict")
	same "$1: the code" "$2" "${said##*$'\n'}"
	matches "... the answer" "$3" "$said"
}
yaml "a body in YAML" 201 '"data":\{"a":"1","b":"two\\nlines\\n"\}' $'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\ndata:\n  a: "1"\n  b: |\n    two\n    lines\n'
yaml "... with a number for a text" 400 'cannot unmarshal number into Go struct field ConfigMap.data of type string' $'metadata: {name: yy}\ndata: {a: 1}\n'
yaml "... with a key twice" 400 'duplicate field ."data.a' $'metadata: {name: yy}\ndata:\n  a: x\n  a: z\n'
yaml "... that is none" 400 'the body: not YAML: line 1, column [0-9]+:' 'a: b: c'
yaml "... that grows" 400 'anchors are not taken' $'metadata: {name: yy}\ndata: {a: &a x, b: *a}\n'
matches "an answer called YAML" '^Content-Type: application/yaml' "$(curl -si -H 'Accept: application/yaml' $at/api/v1/namespaces/default)"
same "a node is well" ok "$(curl -s "$at/api/v1/nodes/$node/proxy/healthz")"
same "its pods" PodList "$(curl -s "$at/api/v1/nodes/$node/proxy/pods" | jq -r .kind)"
same "what it uses" "$node" "$(curl -s "$at/api/v1/nodes/$node/proxy/stats/summary" | jq -r .node.nodeName)"
same "a page that it does not have" 404 "$(curl -s "$at/api/v1/nodes/$node/proxy/nosuch" | jq -r .code)"
same "a node that is none" 404 "$(curl -s "$at/api/v1/nodes/nosuch/proxy/pods" | jq -r .code)"
same "an object of no namespace" 404 "$(curl -s -o /dev/null -w '%{http_code}' $at/api/v1/pods/x)"
kill "$proxy" && wait "$proxy" 2>/dev/null
down
