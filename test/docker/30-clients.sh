#!/bin/bash
# Clients that are not the docker command: Docker's Python library, docker-compose 1.
# time: 120
# shellcheck source=test/lib.sh disable=SC2016
. "$HULL_TOP/test/lib.sh"
up
if ! python3 -c 'import docker' 2>/dev/null; then
	ok "skipped: there is no Python client"
	down
	exit 0
fi
python3 "$HULL_TOP/test/docker/clients.py" "$T/hull/run/docker.sock" >"$T/py" 2>"$T/py.err"
same "the Python client runs to its end" 0 $?
while IFS='|' read -r name want; do
	same "python: $name" "$want" "$(sed -n "s/^$name //p" "$T/py")"
done <<'LIST'
ping|True
version|1.51
images|True
run|hello
failure|3
missing|NotFound
reloaded|running
listed|['py']
networks|['pynet']
ports|True
exec|ExecResult(exit_code=4, output=b'V\n')
demux|(b'o\n', b'e\n')
put|True
get|('x', 4, 0)
top|True
stats|67108864
logs|begun
paused|paused
wait|137
killed|137
diff|True
commit|['py:1']
saved|True
events|[]
left|0
LIST
[ ! -s "$T/py.err" ] || sed 's/^/    /' "$T/py.err"

mkdir "$T/app"
cat >"$T/app/docker-compose.yml" <<'YML'
version: "2.4"
services:
  web:
    image: busybox
    command: sh -c 'echo I am web; echo served >/data/x; exec sleep 100'
    volumes: ["data:/data"]
    healthcheck: {test: ["CMD", "true"], interval: 1s}
  client:
    image: busybox
    command: sh -c 'sleep 1; cat /data/x; exit 0'
    volumes: ["data:/data:ro"]
    depends_on: [web]
volumes: {data: {}}
YML
compose() {
	(cd "$T/app" && DOCKER_HOST="unix://$T/hull/run/docker.sock" timeout -k 5 60 docker-compose "$@" 2>&1)
}
if command -v docker-compose >/dev/null; then
	expect "compose up" 0 'done' compose up -d
	matches "compose ps" 'app_web_1.*Up' "$(compose ps)"
	check "compose logs" within 10 sh -c "cd $T/app && DOCKER_HOST=unix://$T/hull/run/docker.sock docker-compose logs | grep -q 'client_1.*served'"
	same "compose exec" served "$(compose exec -T web cat /data/x)"
	expect "compose down" 0 'Removing network app_default' compose down -v -t 1
fi
same "nothing is left" "" "$(dk ps -aq; dk volume ls -q)"
down
