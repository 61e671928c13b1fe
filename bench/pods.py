# Pods from the request to Ready as a watch shows it, over the API with the administrator's certificate.
# usage: pods.py CERTIFICATE KEY ONE_BY_ONE TOGETHER: prints p50, p99 and the whole of TOGETHER pods, in ms.
import http.client, json, ssl, sys, threading, time

certificate, key, single, together = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.load_cert_chain(certificate, key)
pods = "/api/v1/namespaces/default/pods"
ready, changed = {}, threading.Condition()


def connect():
    return http.client.HTTPSConnection("127.0.0.1", 6443, context=context, timeout=60)


def follow(version):
    c = connect()
    c.request("GET", f"{pods}?watch=true&resourceVersion={version}")
    answer = c.getresponse()
    while line := answer.readline():
        pod = json.loads(line)["object"]
        conditions = pod.get("status", {}).get("conditions", [])
        if any(x["type"] == "Ready" and x["status"] == "True" for x in conditions):
            with changed:
                ready.setdefault(pod["metadata"]["name"], time.monotonic())
                changed.notify()


def create(c, name):
    body = {"metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000"]}]}}
    began = time.monotonic()
    c.request("POST", pods, json.dumps(body), {"Content-Type": "application/json"})
    answer = c.getresponse()
    said = answer.read()
    if answer.status != 201:
        sys.exit(f"a pod was refused: {said.decode()}")
    return began


def wait(name):
    with changed:
        if not changed.wait_for(lambda: name in ready, 60):
            sys.exit(f"pod {name} did not become ready")
        return ready[name]


c = connect()
c.request("GET", pods)
threading.Thread(target=follow, args=(json.load(c.getresponse())["metadata"]["resourceVersion"],), daemon=True).start()
time.sleep(0.2)
times = []
for i in range(single):
    began = create(c, f"one-{i}")
    times.append((wait(f"one-{i}") - began) * 1000)
    c.request("DELETE", f"{pods}/one-{i}")
    c.getresponse().read()
times.sort()
began = [create(c, f"many-{i}") for i in range(together)][0]
last = max(wait(f"many-{i}") for i in range(together))
print(f"{times[len(times) // 2]:.1f} {times[min(len(times) - 1, len(times) * 99 // 100)]:.1f} {(last - began) * 1000:.0f}")
