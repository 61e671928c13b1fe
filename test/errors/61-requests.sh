#!/bin/bash
# Requests that are wrong: bodies, patches, queries, tokens and certificates. Each is told with the
# code, reason, message and causes that Kubernetes gives, and nothing has happened.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
command -v kubectl >/dev/null || {
	ok "skipped: there is no kubectl"
	exit 0
}
cluster_up
"$KUBECTL" proxy --port=8001 >/dev/null 2>&1 </dev/null &
proxy=$!
at=http://127.0.0.1:8001
within 10 curl -sf $at/readyz
ns=$at/api/v1/namespaces/default
cms=$ns/configmaps
one=$cms/kube-root-ca.crt
kc create deploy d --image=i --replicas=0 >/dev/null
uid=$(kc get cm kube-root-ca.crt -o 'jsonpath={.metadata.uid}')

# bad NAME CODE REASON TEXT CURL_ARGS...
bad() {
	local name=$1 code=$2 reason=$3 text=$4 said
	shift 4
	said=$(curl -s -m 20 -w '\n%{http_code}' "$@")
	same "$name: code and reason" "$code $reason" "${said##*$'\n'} $(jq -r .reason <<<"${said%$'\n'*}" 2>&1)"
	matches "... the message" "$text" "$(jq -r .message <<<"${said%$'\n'*}" 2>&1)"
	body=${said%$'\n'*}
}
json=(-H 'Content-Type: application/json')
proto=(-H 'Content-Type: application/vnd.kubernetes.protobuf')

# --- bodies --------------------------------------------------------------------------------------

bad "null" 400 BadRequest 'an object was expected' "${json[@]}" -d null $cms
bad "a list" 400 BadRequest 'an object was expected' "${json[@]}" -d '[]' $cms
bad "a text" 400 BadRequest 'an object was expected' "${json[@]}" -d '"a"' $cms
bad "more than one value" 400 BadRequest 'more text follows the value' "${json[@]}" -d '{} {}' $cms
bad "half a value" 400 BadRequest 'not JSON' "${json[@]}" -d '{"metadata":{' $cms
bad "no UTF-8" 400 BadRequest 'not UTF-8' "${json[@]}" --data-binary $'{"metadata":{"name":"\xff"}}' $cms
bad "a NUL byte in a name" 400 BadRequest 'a NUL byte' "${json[@]}" -d '{"metadata":{"name":"a\u0000b"}}' $cms
bad "a name that is a number" 400 BadRequest 'cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string' "${json[@]}" -d '{"metadata":{"name":5}}' $cms
bad "metadata that is a list" 400 BadRequest 'cannot unmarshal array into Go struct field ConfigMap.metadata of type v1.ObjectMeta' "${json[@]}" -d '{"metadata":[]}' $cms
bad "a map that is a text" 400 BadRequest 'cannot unmarshal string into Go struct field ConfigMap.data of type map\[string\]string' "${json[@]}" -d '{"metadata":{"name":"a"},"data":"b"}' $cms
bad "no spec" 422 Invalid 'spec.ports: Required value' "${json[@]}" -d '{"metadata":{"name":"a"}}' $ns/services
bad "deep objects" 400 BadRequest 'nesting too deep' "${json[@]}" --data-binary @<(printf '{"metadata":{"name":"a"},"data":'; printf '{"a":%.0s' {1..5000}) $cms
bad "deep YAML" 400 BadRequest 'nested too deeply' -H 'Content-Type: application/yaml' --data-binary @<(printf '[%.0s' {1..5000}) $cms
bad "more than three mebibytes" 413 RequestEntityTooLarge 'limit is 3145728' "${json[@]}" -H Expect: --data-binary @<(printf '{"metadata":{"name":"a"},"data":{"x":"'; head -c 3200000 /dev/zero | tr '\0' x; printf '"}}') $cms
bad "long annotations" 422 Invalid 'metadata.annotations: Too long: may not be more than 262144 bytes' "${json[@]}" -H Expect: --data-binary @<(printf '{"metadata":{"name":"a","annotations":{"x":"'; head -c 300000 /dev/zero | tr '\0' x; printf '"}}}') $cms
bad "protobuf that is none" 400 BadRequest 'does not appear to be a protobuf message, expected prefix' "${proto[@]}" -d xyz $cms
bad "protobuf cut short" 400 BadRequest '.' "${proto[@]}" --data-binary @<(printf 'k8s\0\012\377') $cms
for i in 1 2 3 4 5 6 7 8; do
	{ printf 'k8s\0\012\017\012\002v1\022\011ConfigMap\022'; head -c $((i * i * 30)) /dev/urandom; } >"$T/noise"
	curl -s -m 20 -o /dev/null -w '%{http_code}\n' "${proto[@]}" --data-binary "@$T/noise" $cms
done >"$T/codes"
matches "noise in an envelope" '^(400|422)$' "$(sort -u "$T/codes" | grep -v -e 422 || echo 422)"
bad "a version that was not read" 400 BadRequest 'resourceVersion should not be set on objects to be created' "${json[@]}" -d '{"metadata":{"name":"a","resourceVersion":"5"}}' $cms
bad "a name beside the path's" 400 BadRequest 'the name of the object \(y\) does not match the name on the URL' -X PUT "${json[@]}" -d '{"metadata":{"name":"y"}}' $one
bad "a version that is none" 422 Invalid 'metadata.resourceVersion: Invalid value: "abc"' -X PUT "${json[@]}" -d '{"metadata":{"name":"kube-root-ca.crt","resourceVersion":"abc"}}' $one
same "... names its field" 'FieldValueInvalid metadata.resourceVersion' "$(jq -r '.details.causes[0] | "\(.reason) \(.field)"' <<<"$body")"
bad "a version that was" 409 Conflict 'the object has been modified; please apply your changes to the latest version and try again' -X PUT "${json[@]}" -d '{"metadata":{"name":"kube-root-ca.crt","resourceVersion":"1"}}' $one
bad "what is not there" 404 NotFound 'configmaps "x" not found' -X PUT "${json[@]}" -d '{"metadata":{"name":"x"}}' $cms/x
same "... says its name and kind" 'x configmaps' "$(jq -r '.details | "\(.name) \(.kind)"' <<<"$body")"

# --- patches -------------------------------------------------------------------------------------

bad "a patch of no type" 415 UnsupportedMediaType 'application/json-patch\+json, application/merge-patch\+json' -X PATCH "${json[@]}" -d '{}' $one
bad "a patch of nothing" 400 BadRequest 'empty' -X PATCH -H 'Content-Type: application/merge-patch+json' -d '' $one
bad "a list for an object" 400 BadRequest 'the patch is not an object' -X PATCH -H 'Content-Type: application/merge-patch+json' -d '[]' $one
bad "null for an object" 400 BadRequest 'the patch is not an object' -X PATCH -H 'Content-Type: application/merge-patch+json' -d 'null' $one
ops=(-X PATCH -H 'Content-Type: application/json-patch+json')
bad "null for a list" 400 BadRequest 'the patch is not a list of operations' "${ops[@]}" -d 'null' $one
bad "an operation of no kind" 422 Invalid "the patch asks for 'foo', which is no operation" "${ops[@]}" -d '[{"op":"foo","path":"/a"}]' $one
same "... names the patch" 'FieldValueInvalid patch' "$(jq -r '.details.causes[0] | "\(.reason) \(.field)"' <<<"$body")"
bad "an operation that is null" 422 Invalid "no 'op' or 'path'" "${ops[@]}" -d '[null]' $one
bad "a path that leads nowhere" 422 Invalid "the patch names '/a/b'" "${ops[@]}" -d '[{"op":"add","path":"/a/b","value":1}]' $one
bad "too many operations" 413 RequestEntityTooLarge 'maximum operations in a JSON patch is 10000' "${ops[@]}" -H Expect: --data-binary @<(printf '[null'; printf ',{"op":"test"}%.0s' {1..10000}; printf ']') $one
strategic=(-X PATCH -H 'Content-Type: application/strategic-merge-patch+json')
bad "a directive of no kind" 400 BadRequest 'Unknown patch type found: foo' "${strategic[@]}" -d '{"$patch":"foo"}' $one
bad "an element without its key" 400 BadRequest 'does not contain declared merge key: name' "${strategic[@]}" -d '{"spec":{"template":{"spec":{"containers":[{"image":"k"}]}}}}' $at/apis/apps/v1/namespaces/default/deployments/d
bad "a wrong type" 422 Invalid 'patch: Invalid value: .*cannot unmarshal string' "${strategic[@]}" -d '{"spec":{"replicas":"x"}}' $at/apis/apps/v1/namespaces/default/deployments/d
bad "an unknown field, strictly" 422 Invalid 'strict decoding error: unknown field "spec.foo"' "${strategic[@]}" -d '{"spec":{"foo":"x"}}' "$at/apis/apps/v1/namespaces/default/deployments/d?fieldValidation=Strict"
bad "server-side apply" 415 UnsupportedMediaType 'this server has no server-side apply' -X PATCH -H 'Content-Type: application/apply-patch+yaml' -d '{}' $one
bad "fewer than no replicas" 422 Invalid 'spec.replicas: Invalid value: -1' -X PUT "${json[@]}" -d '{"spec":{"replicas":-1}}' $at/apis/apps/v1/namespaces/default/deployments/d/scale

# --- queries -------------------------------------------------------------------------------------

list() { # NAME REGEX QUERY
	bad "$1" 400 BadRequest "$2" "$cms?$3"
}
list "a selector of signs" 'unable to parse requirement: found .==.' 'labelSelector=%3D%3D'
list "a set without brackets" "unable to parse requirement: .*expected: '\('" 'labelSelector=a%20in%20b'
list "a set without end" "unable to parse requirement" 'labelSelector=a%20in%20(b'
list "a label's name that is none" 'unable to parse requirement: <nil>: Invalid value: "A_/": prefix part' 'labelSelector=A_%2F%3Db'
list "a label's value that is none" 'unable to parse requirement: values\[0\]\[a\]: Invalid value: "-b-"' 'labelSelector=a%3D-b-'
list "a field without value" "can't understand 'metadata.name'" 'fieldSelector=metadata.name'
list "a field nobody selects by" 'field label not supported: data.x' 'fieldSelector=data.x%3Da'
list "a limit that is none" "invalid limit 'abc'" 'limit=abc'
list "a token that goes on nowhere" 'continue key is not valid' 'limit=1&continue=eyJ2IjoxfQ'
list "a token of another list" 'continue key is not valid' "limit=1&continue=$(curl -s "$at/api/v1/namespaces?limit=1" | jq -r .metadata.continue)"
list "a version below nothing" 'invalid resourceVersion' 'resourceVersion=-1'
list "a watch from nowhere" 'invalid resourceVersion' 'watch=1&resourceVersion=abc'
a='{"metadata":{"name":"a"}}'
bad "a dry run of no kind" 422 Invalid 'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: "Foo": supported values: "All"' "${json[@]}" -d "$a" "$cms?dryRun=Foo"
bad "... did nothing" 404 NotFound '"a" not found' $cms/a
bad "a validation of no kind" 422 Invalid 'fieldValidation: Unsupported value: "Foo"' "${json[@]}" -d "$a" "$cms?fieldValidation=Foo"
bad "a long manager" 422 Invalid 'fieldManager: Too long: may not be more than 128 bytes' "${json[@]}" -d "$a" "$cms?fieldManager=$(printf 'a%.0s' {1..200})"
bad "a policy of no kind" 422 Invalid 'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Foo"' -X DELETE "$one?propagationPolicy=Foo"
bad "... in a body" 422 Invalid 'propagationPolicy: Unsupported value: "Foo"' -X DELETE "${json[@]}" -d '{"propagationPolicy":"Foo"}' $one
bad "two policies" 422 Invalid 'orphanDependents and deletionPropagation cannot be both set' -X DELETE "${json[@]}" -d '{"orphanDependents":true,"propagationPolicy":"Foreground"}' $one
bad "a grace that is no time" 400 BadRequest "invalid gracePeriodSeconds 'abc'" -X DELETE "$one?gracePeriodSeconds=abc"
bad "options of another kind" 400 BadRequest 'must be of type DeleteOptions' -X DELETE "${json[@]}" -d '{"kind":"Foo","apiVersion":"v1"}' $one
bad "another's uid" 409 Conflict 'Precondition failed: UID in precondition: x' -X DELETE "${json[@]}" -d '{"preconditions":{"uid":"x"}}' $one
same "none of them deleted it" "$uid" "$(kc get cm kube-root-ca.crt -o 'jsonpath={.metadata.uid}')"
bad "a verb of no kind" 405 MethodNotAllowed 'does not allow this method' -X FOO $cms
bad "all namespaces at once" 405 MethodNotAllowed 'does not allow this method' -X DELETE $at/api/v1/namespaces
bad "a subresource of no kind" 404 NotFound 'could not find the requested resource' "${json[@]}" -d '{}' $one/nosuch
bad "an object of no namespace" 404 NotFound 'could not find the requested resource' $at/api/v1/configmaps/x
bad "a long path" 414 null 'longer than 4096 bytes' "$cms/$(printf 'a%.0s' {1..5000})"
bad "an eviction of nobody" 404 NotFound 'pods "nosuch" not found' "${json[@]}" -d '{"metadata":{"name":"nosuch"}}' $ns/pods/nosuch/eviction
bad "a token for five seconds" 422 Invalid 'may not specify a duration less than 10 minutes' "${json[@]}" -d '{"spec":{"expirationSeconds":5}}' $ns/serviceaccounts/default/token
bad "a token of no pod" 404 NotFound 'pods "nosuch" not found' "${json[@]}" -d '{"spec":{"boundObjectRef":{"kind":"Pod","name":"nosuch","apiVersion":"v1"}}}' $ns/serviceaccounts/default/token
kill "$proxy" && wait "$proxy" 2>/dev/null

# --- credentials ---------------------------------------------------------------------------------

api=https://127.0.0.1:6443/api/v1/namespaces/default/pods
keys=$T/hull/root/kube
who() { # NAME CURL_ARGS...
	local name=$1
	shift
	bad "$name" 401 Unauthorized '^Unauthorized$' -k "$@" $api
}
# jwt KEY HEADER CLAIMS: signed by ES256.
jwt() {
	python3 - "$@" <<'PY'
import base64, subprocess, sys
def b64(b):
    return base64.urlsafe_b64encode(b).rstrip(b'=').decode()
key, header, claims = sys.argv[1:]
text = b64(header.encode()) + '.' + b64(claims.encode())
der = subprocess.run(['openssl', 'dgst', '-sha256', '-sign', key], input=text.encode(), stdout=subprocess.PIPE).stdout
at, raw = 2, b''
for _ in range(2):  # SEQUENCE { INTEGER r, INTEGER s }
    n = der[at + 1]
    raw += der[at + 2:at + 2 + n].lstrip(b'\0').rjust(32, b'\0')
    at += 2 + n
print(text + '.' + b64(raw))
PY
}
token=$(kc create token default)
IFS=. read -r head claims rest <<<"$token"
plain=$(python3 -c 'import base64, sys; print(base64.urlsafe_b64decode(sys.argv[1] + "===").decode())' "$claims")
header='{"alg":"ES256","typ":"JWT"}'
now=$(date +%s)
own=$(jwt "$keys/tokens.key" "$header" "$(jq -c '.nbf = .iat' <<<"$plain")")
matches "a token made here is as good as theirs" 'system:serviceaccount:default:default' "$(curl -sk -H "Authorization: Bearer $own" $api | jq -r .message)"
who "a token that has expired" -H "Authorization: Bearer $(jwt "$keys/tokens.key" "$header" "$(jq -c ".exp = $((now - 60)) | .iat = $((now - 4000)) | .nbf = .iat" <<<"$plain")")"
who "a token for later" -H "Authorization: Bearer $(jwt "$keys/tokens.key" "$header" "$(jq -c ".nbf = $((now + 3600))" <<<"$plain")")"
who "a token for others" -H "Authorization: Bearer $(jwt "$keys/tokens.key" "$header" "$(jq -c '.aud = ["vault"]' <<<"$plain")")"
who "a token of another issuer" -H "Authorization: Bearer $(jwt "$keys/tokens.key" "$header" "$(jq -c '.iss = "https://example.com"' <<<"$plain")")"
openssl ecparam -genkey -name prime256v1 -noout -out "$T/own.key" 2>/dev/null
who "a token of another key" -H "Authorization: Bearer $(jwt "$T/own.key" "$header" "$plain")"
who "a token of no algorithm" -H "Authorization: Bearer $(printf '{"alg":"none"}' | base64 -w0 | tr -d =).$claims."
who "a token with another's claims" -H "Authorization: Bearer $head.$(printf '%s' "$plain" | sed s/default:default/kube-system:default/ | base64 -w0 | tr '+/' '-_' | tr -d =).$rest"
who "a token of noise" -H 'Authorization: Bearer a.b.c'
who "an empty token" -H 'Authorization: Bearer '
who "a long token" -H "Authorization: Bearer $(printf 'a%.0s' {1..9000})"
# cert NAME DAYS CA_NAME SUBJECT: a client's certificate, $T/NAME.crt, for the key own.key.
cert() {
	openssl req -new -key "$T/own.key" -subj "$4" -out "$T/$1.csr" 2>/dev/null
	openssl x509 -req -in "$T/$1.csr" -CA "$3.crt" -CAkey "$3.key" -CAcreateserial -CAserial "$T/serial" -days "$2" \
		-extfile <(echo 'extendedKeyUsage=clientAuth') -out "$T/$1.crt" 2>/dev/null
}
cert good 1 "$keys/ca" /O=system:masters/CN=me
same "a certificate of the authority" 200 "$(curl -sk -o /dev/null -w '%{http_code}' --cert "$T/good.crt" --key "$T/own.key" $api)"
cert old -1 "$keys/ca" /O=system:masters/CN=me
who "a certificate that has expired" --cert "$T/old.crt" --key "$T/own.key"
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$T/other.key" -out "$T/other.crt" -subj /CN=kubernetes -days 2 2>/dev/null
cert forged 1 "$T/other" /O=system:masters/CN=me
who "a certificate of another authority" --cert "$T/forged.crt" --key "$T/own.key"
who "a certificate for a server" --cert "$keys/server.crt" --key "$keys/server.key"
down
