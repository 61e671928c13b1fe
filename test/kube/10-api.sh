#!/bin/bash
# The Kubernetes API through its stock clients, objects only: every verb with each kubectl that is here,
# then rights, and what a bad request is told.
# time: 180
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
command -v kubectl >/dev/null || {
	ok "skipped: there is no kubectl"
	exit 0
}
cluster_up
mkdir "$T/m"

# --- with each version ---------------------------------------------------------------------------

cat >"$T/m/web.yaml" <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: {name: web, labels: {app: web}}
data: {color: red}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "nginx:1", ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {selector: {app: web}, ports: [{port: 80}]}
YAML
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: typo}\ndatta: {a: b}\n' >"$T/m/typo.yaml"
printf '#!/bin/sh\nsed -i "s/color: red/color: green/" "$1"\n' >"$T/m/editor"
chmod 755 "$T/m/editor"

# walk VERSION: the life of three objects in a namespace of their own.
walk() {
	local v=$1 n=n${1//./} pid
	expect "$v: create namespace" 0 "namespace/$n created" kc create ns "$n"
	expect "$v: apply" 0 'configmap/web created.*|deployment.apps/web created' kc -n "$n" apply -f "$T/m/web.yaml"
	expect "$v: apply again" 0 'deployment.apps/web unchanged' kc -n "$n" apply -f "$T/m/web.yaml"
	same "$v: ... changes nothing" 3 "$(grep -c unchanged <<<"$out")"
	expect "$v: diff sees a change" 1 '[+] *color: blue' kc -n "$n" diff -f <(sed s/red/blue/ "$T/m/web.yaml")
	expect "$v: an unknown field is refused" 1 'unknown field "?(datta|ConfigMap.datta|.datta)' \
		kc -n "$n" create -f "$T/m/typo.yaml"
	matches "$v: a table" '^NAME +READY +UP-TO-DATE +AVAILABLE +AGE
web +0/0 +0 +0 ' "$(kc -n "$n" get deploy 2>&1)"
	expect "$v: describe" 0 'Image: +nginx:1' kc -n "$n" describe deploy web
	EDITOR="$T/m/editor" expect "$v: edit" 0 'configmap/web edited' kc -n "$n" edit cm web
	same "$v: ... has edited" green "$(kc -n "$n" get cm web -o 'jsonpath={.data.color}')"
	expect "$v: scale" 0 'scaled' kc -n "$n" scale deploy web --replicas=0 --current-replicas=0
	expect "$v: set image" 0 'image updated' kc -n "$n" set image deploy/web web=nginx:2
	expect "$v: patch" 0 'patched' kc -n "$n" patch deploy web \
		-p '{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"B"}]}]}}}}'
	same "$v: ... merges lists by name" nginx:2B "$(kc -n "$n" get deploy web \
		-o 'jsonpath={.spec.template.spec.containers[0].image}{.spec.template.spec.containers[0].env[0].value}')"
	expect "$v: explain" 0 'FIELD:? +strategy|RESOURCE: strategy|strategy <' kc explain deployment.spec.strategy
	expect "$v: can-i" 0 '^yes' kc auth can-i delete pods
	expect "$v: wait" 0 'condition met' kc -n "$n" wait deploy/web --for=condition=Available --timeout=20s
	"$KUBECTL" -n "$n" get cm -w --no-headers >"$T/m/watched" 2>&1 </dev/null &
	pid=$!
	within 10 grep -q '^web' "$T/m/watched"
	expect "$v: label" 0 'labeled' kc -n "$n" label cm web tier=front
	expect "$v: delete" 0 'configmap "web" deleted' kc -n "$n" delete cm web
	within 10 eval '[ "$(grep -c "^web" "$T/m/watched")" -ge 3 ]'
	matches "$v: a watch shows it" '^3$' "$(grep -c '^web' "$T/m/watched")"
	kill "$pid" && wait "$pid"
	expect "$v: delete a namespace" 0 'deleted' kc delete ns "$n"
	expect "$v: ... and all in it" 1 "namespaces \"$n\" not found" kc get ns "$n"
} 2>/dev/null

for KUBECTL in $(kubectls); do
	case $KUBECTL in *.28 | *.30) continue ;; esac
	v=${KUBECTL##*kubectl}
	walk "${v#.}"
done

# --- the verbs of the newest ---------------------------------------------------------------------

kc create cm a --from-literal=x=1 >/dev/null
expect "get -o name" 0 '^configmap/a$' kc get cm a -o name
expect "get -o yaml" 0 'resourceVersion: "[0-9]+"' kc get cm a -o yaml
expect "get -o json" 0 '"kind": "ConfigMap"' kc get cm a -o json
expect "get -o wide" 0 '^NAME +DATA +AGE' kc get cm a -o wide
expect "get by go-template" 0 '^1$' kc get cm a -o 'go-template={{.data.x}}'
expect "custom columns" 0 '^a +1$' kc get cm -o custom-columns=N:.metadata.name,X:.data.x
expect "several kinds" 0 '^service/kubernetes' kc get cm,svc
expect "all namespaces" 0 '^kube-system +kube-root-ca.crt' kc get cm -A
for i in 1 2 3 4 5; do echo "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c$i\",\"labels\":{\"n\":\"$i\"}},\"data\":{\"o\":\"$((9 - i))\"}}"; done |
	kc create -f - >/dev/null
same "chunks" "a c1 c2 c3 c4 c5 kube-root-ca.crt" "$(kc get cm --chunk-size=2 -o 'jsonpath={.items[*].metadata.name}')"
same "sorted" "c5 c4 c3 c2 c1" "$(kc get cm -l n --sort-by=.data.o -o 'jsonpath={.items[*].metadata.name}')"
same "labels in a set" "c1 c3" "$(kc get cm -l 'n in (1,3)' -o 'jsonpath={.items[*].metadata.name}')"
same "labels that are not" "c5" "$(kc get cm -l 'n,n notin (1,2,3),n!=4' -o 'jsonpath={.items[*].metadata.name}')"
same "fields" "c2" "$(kc get cm --field-selector metadata.name=c2 -o 'jsonpath={.items[*].metadata.name}')"
expect "columns of labels" 0 '^c1 .* 1$' kc get cm -L n
expect "delete by label" 0 'configmap "c1" deleted' kc delete cm -l n
expect "patch, merging" 0 'patched' kc patch cm a --type=merge -p '{"data":{"x":null,"y":"2"}}'
expect "patch by operations" 0 'patched' kc patch cm a --type=json -p '[{"op":"test","path":"/data/y","value":"2"},{"op":"add","path":"/data/z","value":"3"}]'
same "... come to" '{"y":"2","z":"3"}' "$(kc get cm a -o 'jsonpath={.data}')"
expect "annotate" 0 annotated kc annotate cm a q=w
expect "a label is not overwritten" 1 'already has a value' eval 'kc label cm a l=1 >/dev/null; kc label cm a l=2'
kc get cm a -o yaml >"$T/m/a.yaml"
expect "replace" 0 'replaced' kc replace -f "$T/m/a.yaml"
sed -i 's/  z: "3"/  z: "4"/' "$T/m/a.yaml"
expect "replace what changed meanwhile" 1 'the object has been modified; please apply your changes to the latest version and try again' \
	eval 'kc annotate cm a q=e --overwrite >/dev/null; kc replace -f "$T/m/a.yaml"'
expect "replace by force" 0 replaced kc replace --force -f "$T/m/a.yaml"
expect "a secret" 0 'p: +1 bytes' eval 'kc create secret generic s --from-literal=p=q >/dev/null; kc describe secret s'
expect "expose" 0 exposed eval 'kc create deploy d --image=i --replicas=0 >/dev/null; kc expose deploy d --port=8080'
expect "autoscale" 0 autoscaled kc autoscale deploy d --max=3
expect "get all" 0 'horizontalpodautoscaler.autoscaling/d' kc get all
expect "quota, priorities, budgets" 0 'poddisruptionbudget.policy/b created' eval 'kc create quota q --hard=pods=3 &&
	kc create priorityclass p --value=5 && kc create pdb b --selector=app=d --min-available=1'
expect "jobs" 0 'cronjob.batch/cj created' kc create cronjob cj --image=i --schedule='1 * * * *'
expect "explain --recursive" 0 'rollingUpdate' kc explain deploy --recursive
expect "api-resources" 0 '^deployments +deploy +apps/v1 +true +Deployment' kc api-resources
expect "api-versions" 0 '^apps/v1' kc api-versions
expect "component statuses" 0 '^scheduler +Healthy' kc get cs
expect "health, verbosely" 0 '\[\+\]bootstrap ok' kc get --raw '/readyz?verbose'
expect "metrics" 0 '^hull_api_requests_total [1-9]' kc get --raw /metrics
expect "top" 0 '^NAME +CPU' kc top nodes

# What waits for others.
kc patch cm a --type=merge -p '{"metadata":{"finalizers":["test.example/f"]}}' >/dev/null
kc delete cm a --wait=false >/dev/null
expect "a finalizer holds" 0 'deletionTimestamp' kc get cm a -o yaml
kc patch cm a --type=merge -p '{"metadata":{"finalizers":null}}' >/dev/null
expect "... and lets go" 1 'configmaps "a" not found' kc get cm a
kc scale deploy d --replicas=1 >/dev/null
within 10 eval 'kc get rs -l app=d -o name | grep -q .'
expect "orphans stay" 0 replicaset eval 'kc delete deploy d --cascade=orphan >/dev/null; kc get rs -l app=d -o name'
expect "dry run leaves nothing" 1 'not found' eval 'kc create cm dry --dry-run=server >/dev/null; kc get cm dry'
kc delete rs,hpa,cj,pdb,svc -l app=d >/dev/null

# --- messages ------------------------------------------------------------------------------------

expect "what is missing" 1 '^Error from server \(NotFound\): configmaps "x" not found$' kc get cm x
expect "what is there" 1 'secrets "s" already exists' kc create secret generic s
expect "what nobody knows" 1 "the server doesn't have a resource type \"nope\"" kc get nope
expect "a name that is none" 1 'a lowercase RFC 1123 subdomain must consist of' kc create cm A_
cat >"$T/m/bad.yaml" <<'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: {name: bad}
spec:
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: c}}, spec: {containers: [{name: x, image: "i"}]}}
YAML
expect "a selector that misses" 1 'The Deployment "bad" is invalid: .*`?selector`? does not match template' \
	kc create -f "$T/m/bad.yaml"

# --- rights --------------------------------------------------------------------------------------

kc create ns t >/dev/null
kc create sa bob -n t >/dev/null
kc create rolebinding bob --clusterrole=edit --serviceaccount=t:bob -n t >/dev/null
bob=(--as=system:serviceaccount:t:bob)
expect "somebody may not list" 1 '\(Forbidden\): pods is forbidden: User "joe" cannot list resource "pods" in API group "" in the namespace "default"' \
	kc get pods --as=joe
expect "... nor get a deployment" 1 'deployments.apps "x" is forbidden: User "joe" cannot get resource "deployments" in API group "apps"' \
	kc get deploy x --as=joe
expect "a role counts where it is bound" 0 'created' kc create cm mine -n t "${bob[@]}"
expect "... and nowhere else" 1 'configmaps is forbidden' kc create cm mine "${bob[@]}"
expect "can-i, impersonating" 1 '^no' kc auth can-i list nodes "${bob[@]}"
expect "a namespace lies within itself" 0 '^t ' kc get ns t "${bob[@]}"
kc create role grants -n t --verb='*' --resource=roles,rolebindings >/dev/null
kc create role maker -n t --verb=create,get,patch --resource=roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io >/dev/null
kc create rolebinding maker -n t --role=maker --serviceaccount=t:bob >/dev/null
expect "one's own rights may be given on" 0 created kc create role r -n t --verb=get --resource=pods "${bob[@]}"
expect "others may not" 1 'attempting to grant RBAC permissions not currently held' \
	kc create role r2 -n t --verb=get --resource=nodes "${bob[@]}"
expect "... by a patch neither" 1 'not currently held' kc patch role r -n t --type=json \
	-p '[{"op":"replace","path":"/rules/0/resources","value":["nodes"]}]' "${bob[@]}"
same "... which changed nothing" pods "$(kc get role r -n t -o 'jsonpath={.rules[0].resources[0]}')"
expect "... by a binding neither" 1 'not currently held' \
	kc create rolebinding r -n t --clusterrole=cluster-admin --serviceaccount=t:bob "${bob[@]}"
token=$(kc create token bob -n t)
base64 -d <<<"$(sed -n 's/.*certificate-authority-data: //p' "$KUBECONFIG")" >"$T/m/ca"
with=(--kubeconfig=/dev/null --server=https://127.0.0.1:6443 --certificate-authority="$T/m/ca")
expect "a token says who" 0 'system:serviceaccount:t:bob' kc "${with[@]}" --token="$token" auth whoami
expect "a forged token" 1 'Unauthorized' kc "${with[@]}" --token="${token%?????}aaaaa" get pods
expect "a token without signature" 1 'Unauthorized' kc "${with[@]}" --token="${token%.*}." get pods
printf '{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"%s","audiences":["x","vault"]}}' \
	"$(kc create token bob -n t --audience=vault)" >"$T/m/review.json"
expect "a review of a token for others" 0 '^vault system:serviceaccount:t:bob$' kc create -f "$T/m/review.json" \
	-o 'jsonpath={.status.audiences[0]} {.status.user.username}'
kc run held -n t --image=i --overrides='{"spec":{"nodeSelector":{"no":"where"}}}' >/dev/null
token2=$(kc create token bob -n t --bound-object-kind=Pod --bound-object-name=held)
expect "a token of a pod" 0 'system:serviceaccount:t:bob' kc "${with[@]}" --token="$token2" auth whoami
kc delete pod held -n t --now >/dev/null
expect "... ends with it" 1 'Unauthorized' kc "${with[@]}" --token="$token2" auth whoami
kc delete sa bob -n t >/dev/null
expect "a token of nobody" 1 'Unauthorized' kc "${with[@]}" --token="$token" get pods

# --- bad input -----------------------------------------------------------------------------------

"$KUBECTL" proxy --port=8001 >/dev/null 2>&1 </dev/null &
proxy=$!
cms=http://127.0.0.1:8001/api/v1/namespaces/default/configmaps
within 10 curl -sf http://127.0.0.1:8001/readyz
# bad NAME CODE REASON TEXT CURL_ARGS...
bad() {
	local name=$1 code=$2 reason=$3 text=$4 said
	shift 4
	said=$(curl -s -m 20 -w '\n%{http_code}' "$@")
	same "$name: the code" "$code" "${said##*$'\n'}"
	same "... its reason" "$reason" "$(jq -r .reason <<<"${said%$'\n'*}" 2>&1)"
	matches "... its message" "$text" "$(jq -r .message <<<"${said%$'\n'*}" 2>&1)"
}
json=(-H 'Content-Type: application/json')
cm() { # MEMBERS
	printf '{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"}%s}' "$1"
}
bad "a wrong type" 400 BadRequest 'cannot unmarshal number into Go struct field' "${json[@]}" -d "$(cm ',"data":{"x":1}')" "$cms"
bad "an unknown field" 400 BadRequest 'strict decoding error: unknown field "foo"' "${json[@]}" -d "$(cm ',"foo":1')" "$cms?fieldValidation=Strict"
bad "a field twice" 400 BadRequest 'duplicate field "data.a"' "${json[@]}" -d "$(cm ',"data":{"a":"1","a":"2"}')" "$cms?fieldValidation=Strict"
matches "... as a warning" '299 - "duplicate field ."data.a.""' "$(curl -si "${json[@]}" -d "$(cm ',"data":{"a":"1","a":"2"}')" "$cms?dryRun=All&fieldValidation=Warn")"
bad "another kind" 400 BadRequest 'must be of type ConfigMap' "${json[@]}" -d '{"kind":"Secret","apiVersion":"v1","metadata":{"name":"x"}}' "$cms"
bad "another namespace" 400 BadRequest 'does not match the namespace' "${json[@]}" -d '{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","namespace":"y"}}' "$cms"
bad "no name" 422 Invalid 'name or generateName is required' "${json[@]}" -d '{"kind":"ConfigMap","apiVersion":"v1"}' "$cms"
bad "no JSON" 400 BadRequest 'not JSON' "${json[@]}" -d '{x' "$cms"
bad "nothing" 400 BadRequest 'empty' -X POST "${json[@]}" "$cms"
bad "deep nesting" 400 BadRequest 'deep' "${json[@]}" --data-binary "@"<(printf '{"x":'; head -c 50000 /dev/zero | tr '\0' '[') "$cms"
head -c 4000000 /dev/zero | tr '\0' x >"$T/m/big"
bad "four megabytes" 413 RequestEntityTooLarge 'too large' "${json[@]}" -H Expect: --data-binary "@$T/m/big" "$cms"
{ printf '{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"},"data":{"x":"'; head -c 1048577 "$T/m/big"; printf '"}}'; } >"$T/m/much"
bad "more than a megabyte of data" 422 Invalid 'Too long: may not be more than 1048576 bytes' "${json[@]}" -H Expect: --data-binary "@$T/m/much" "$cms"
bad "plain text" 415 UnsupportedMediaType 'unknown format' -H 'Content-Type: text/plain' -d x "$cms"
for i in 1 2 3 4 5 6 7 8; do
	{ printf 'k8s\0'; head -c $((i * i * 40)) /dev/urandom; } >"$T/m/noise"
	curl -s -m 20 -o /dev/null -w '%{http_code}\n' -H 'Content-Type: application/vnd.kubernetes.protobuf' --data-binary "@$T/m/noise" "$cms"
done >"$T/m/codes"
same "random protobuf" 400 "$(sort -u "$T/m/codes")"
bad "a form that is not there" 406 NotAcceptable 'media types' -H 'Accept: application/vnd.kubernetes.protobuf' "$cms"
bad "a verb in the wrong place" 405 MethodNotAllowed 'does not allow this method' -X PUT "$cms"
bad "all pods of all namespaces" 405 MethodNotAllowed 'does not allow' -X DELETE http://127.0.0.1:8001/api/v1/pods
bad "a resource that is none" 404 NotFound 'could not find the requested resource' http://127.0.0.1:8001/api/v1/nope
bad "a bad selector" 400 BadRequest 'unable to parse requirement' "$cms?labelSelector=a%3D%3D%3Db"
bad "a field that is not selectable" 400 BadRequest 'field label not supported: spec.x' "$cms?fieldSelector=spec.x%3Da"
bad "a bad limit" 400 BadRequest 'limit' "$cms?limit=-1"
bad "a bad token to go on" 400 BadRequest 'continue key is not valid' "$cms?continue=abc"
bad "a bad revision" 400 BadRequest 'resourceVersion' "$cms?resourceVersion=abc"
bad "a revision to come" 504 Timeout 'Too large resource version' "$cms?resourceVersion=99999999"
bad "a match without revision" 422 Invalid 'forbidden unless resourceVersion is provided' "$cms?resourceVersionMatch=Exact"
bad "server-side apply" 415 UnsupportedMediaType 'application/merge-patch' -X PATCH -H 'Content-Type: application/apply-patch+yaml' -d '{}' "$cms/x"
bad "a patch that renames" 400 BadRequest 'does not match the name on the URL' -X PATCH -H 'Content-Type: application/merge-patch+json' -d '{"metadata":{"name":"y"}}' "$cms/kube-root-ca.crt"
bad "a wrong uid" 409 Conflict 'Precondition failed: UID' -X DELETE "${json[@]}" -d '{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"x"}}' "$cms/kube-root-ca.crt"
bad "a namespace that is not there" 404 NotFound 'namespaces "nope" not found' "${json[@]}" -d "$(cm '')" "${cms/default/nope}"

# --- watches -------------------------------------------------------------------------------------

watch() { # QUERY
	curl -sN -m 5 "$cms?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dkube-root-ca.crt&$1"
}
same "a watch begins with what there is" ADDED "$(watch '' | jq -r .type)"
same "... and says when that is told" "ADDED BOOKMARK true" "$(watch 'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true' |
	jq -r '.type, .object.metadata.annotations["k8s.io/initial-events-end"] // empty' | xargs)"
same "... or only news" "" "$(watch 'sendInitialEvents=false&resourceVersionMatch=NotOlderThan' | jq -r .type)"
same "... or is told why not" 422 "$(watch 'sendInitialEvents=true' | jq -r .code)"
same "no bookmarks unless asked" "" "$(watch "resourceVersion=$(curl -s "$cms" | jq -r .metadata.resourceVersion)")"
same "Tables have columns once" "true false" "$(curl -sN -m 5 -H 'Accept: application/json;as=Table;v=v1;g=meta.k8s.io' \
	"http://127.0.0.1:8001/api/v1/namespaces?watch=1&timeoutSeconds=1" | jq -r '.object.columnDefinitions != null and (.object.columnDefinitions | length > 0)' | head -n 2 | xargs)"
kill "$proxy" && wait "$proxy" 2>/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$T/m/k" -out "$T/m/x" -subj /O=system:masters/CN=evil -days 2 2>/dev/null
same "a certificate of one's own" 401 "$(curl -sk -o /dev/null -w '%{http_code}' --cert "$T/m/x" --key "$T/m/k" https://127.0.0.1:6443/api/v1/pods)"
matches "no credentials" 'forbidden: User \\"system:anonymous\\" cannot get path \\"/apis\\"' "$(curl -sk https://127.0.0.1:6443/apis)"
same "version for everybody" 33 "$(curl -sk https://127.0.0.1:6443/version | jq -r .minor)"
same "the kubeconfig is the administrator's alone" 600 "$(stat -c %a "$KUBECONFIG")"

# --- again ---------------------------------------------------------------------------------------

hulld_stop
serial=$(openssl x509 -in "$T/hull/root/kube/server.crt" -noout -serial)
hulld_start hull --kube-listen 0.0.0.0:7443
within 10 kc get --raw /readyz || not_ok "it serves after a restart" "$(tail -n 20 "$T/hull/log")"
expect "after a restart all is there" 0 '^s +Opaque +1' kc get secrets
matches "... at the new address" 'server: https://127.0.0.1:7443' "$(cat "$KUBECONFIG")"
refuse "... with a certificate for it" [ "$serial" = "$(openssl x509 -in "$T/hull/root/kube/server.crt" -noout -serial)" ]
down
