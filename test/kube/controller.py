# A small controller by the stock Python client: it follows config maps labelled "copy" and keeps a copy of each,
# but only while it leads. usage: controller.py NAME SECONDS: prints what it does.
import sys, threading, time
from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.leaderelection import leaderelection, electionconfig
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock

name, seconds = sys.argv[1], int(sys.argv[2])
config.load_kube_config()
api = client.CoreV1Api()


def keep_copy(item):
    copy = item.metadata.name + "-copy"
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=copy, labels={"by": name}), data=item.data)
    try:
        api.create_namespaced_config_map("default", body)
        print(f"{name} made {copy}", flush=True)
    except ApiException as e:
        if e.status != 409:
            raise
        api.patch_namespaced_config_map(copy, "default", {"data": item.data})
        print(f"{name} patched {copy}", flush=True)


def lead():
    print(f"{name} leads", flush=True)
    until = time.monotonic() + seconds
    for event in watch.Watch().stream(api.list_namespaced_config_map, "default", label_selector="copy",
                                      timeout_seconds=seconds):
        if event["type"] in ("ADDED", "MODIFIED"):
            keep_copy(event["object"])
        if time.monotonic() > until:
            break
    print(f"{name} ends", flush=True)
    import os
    os._exit(0)


def follow():
    print(f"{name} follows", flush=True)


leaderelection.LeaderElection(electionconfig.Config(
    ConfigMapLock("the-lock", "default", name), lease_duration=4, renew_deadline=3, retry_period=1,
    onstarted_leading=lead, onstopped_leading=follow)).run()
