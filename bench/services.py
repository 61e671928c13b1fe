"""Makes many services through the cluster's API, as fast as a few clients can.

usage: services.py KUBECONFIG FROM TO     services s-FROM ... s-(TO - 1), all of selector app=server
"""
import base64, http.client, json, re, ssl, sys, tempfile, threading

text = open(sys.argv[1]).read()
first, last = int(sys.argv[2]), int(sys.argv[3])
server = re.search(r"server: *\"?https://([^\s\"]+)", text).group(1)


def part(name):
    f = tempfile.NamedTemporaryFile(delete=False)
    f.write(base64.b64decode(re.search(name + r"-data: *\"?([A-Za-z0-9+/=]+)", text).group(1)))
    f.close()
    return f.name


context = ssl.create_default_context(cafile=part("certificate-authority"))
context.check_hostname = False
context.load_cert_chain(part("client-certificate"), part("client-key"))


def make(k, of):
    c = http.client.HTTPSConnection(server, context=context)
    for i in range(first + k, last, of):
        c.request("POST", "/api/v1/namespaces/default/services", json.dumps({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s-%d" % i},
            "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
            {"Content-Type": "application/json"})
        r = c.getresponse()
        body = r.read()
        if r.status != 201:
            sys.exit("service %d: %d %s" % (i, r.status, body[:300]))


threads = [threading.Thread(target=make, args=(k, 8)) for k in range(8)]
for t in threads:
    t.start()
for t in threads:
    t.join()
