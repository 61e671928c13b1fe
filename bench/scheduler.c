/*
 * How many pods a second the scheduler places: nodes and pods are objects in the store of this
 * process, and a pod counts when its binding is durable and seen on the watch.
 *
 *	scheduler FOLDER NODES PODS basic|anti-affinity	-> "pods/s seconds cpu-seconds"
 */
#include <assert.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cluster/objects/direct.h"
#include "cluster/objects/informer.h"
#include "cluster/scheduler/scheduler.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/store/keys.h"
#include "ground/wire/loop.h"

#define AT_A_TIME	  1024
#define MEMORY_KEPT_BYTES (16 << 20) /* as hulld does */

struct bench {
	struct loop *loop;
	struct keys *keys;
	struct objects *objects;
	struct client client;
	struct informers *informers;
	struct scheduler *scheduler;
	const char *what;
	size_t to_make, made, begun, placed, pods;
	struct json *(*make)(struct bench *b, size_t i);
	const struct kind *kind;
};

static struct json *parse(const char *text)
{
	struct json *j = NULL;
	struct err e;

	if (json_parse(str_of(text), "bench", &j, &e) < 0) {
		fprintf(stderr, "%s\n", e.text);
		exit(1);
	}
	return j;
}

static struct json *make_namespace(struct bench *b, size_t i)
{
	(void)b;
	(void)i;
	return parse("{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":"
		     "\"default\"}}");
}

static struct json *make_account(struct bench *b, size_t i)
{
	(void)b;
	(void)i;
	return parse("{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":"
		     "\"default\",\"namespace\":\"default\"}}");
}

static struct json *make_node(struct bench *b, size_t i)
{
	auto_free char *text = mem_printf(
		"{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"node-%zu\","
		"\"labels\":{\"kubernetes.io/hostname\":\"node-%zu\","
		"\"topology.kubernetes.io/zone\":\"zone-%zu\"}}}",
		i, i, i % 3);

	(void)b;
	return parse(text);
}

/* What a kubelet says of its node. */
static struct json *make_room(struct bench *b, size_t i)
{
	(void)b;
	(void)i;
	return parse("{\"status\":{\"allocatable\":{\"cpu\":\"4\",\"memory\":\"32Gi\","
		     "\"pods\":\"110\"}}}");
}

/* As Kubernetes' own measurement: 100m and 500Mi; anti-affinity among groups of 2,000. */
static struct json *make_pod(struct bench *b, size_t i)
{
	auto_free char *anti = mem_printf(
		"\"affinity\":{\"podAntiAffinity\":{\"requiredDuringSchedulingIgnoredDuring"
		"Execution\":[{\"labelSelector\":{\"matchLabels\":{\"app\":\"a-%zu\"}},"
		"\"topologyKey\":\"kubernetes.io/hostname\"}]}},",
		i / 2000);
	auto_free char *text = mem_printf(
		"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"pod-%zu\","
		"\"namespace\":\"default\",\"labels\":{\"app\":\"a-%zu\"}},\"spec\":{%s"
		"\"containers\":[{\"name\":\"pause\",\"image\":\"pause:3\","
		"\"ports\":[{\"containerPort\":80}],\"resources\":{\"requests\":"
		"{\"cpu\":\"100m\",\"memory\":\"500Mi\"}}}]}}",
		i, i / 2000, strcmp(b->what, "basic") ? anti : "");

	return parse(text);
}

static void make_more(struct bench *b);

static void made(void *ctx, const struct outcome *o)
{
	struct bench *b = ctx;

	if (o->error) {
		fprintf(stderr, "%s\n", o->error->text);
		exit(1);
	}
	b->made++;
	if (b->made == b->to_make)
		loop_stop(b->loop);
	else
		make_more(b);
}

static void make_more(struct bench *b)
{
	while (b->begun < b->to_make && b->begun - b->made < AT_A_TIME) {
		auto_free char *node = mem_printf("node-%zu", b->begun);
		struct json *tree = b->make(b, b->begun++);
		auto_free char *ns =
			mem_dup_text(json_get_text(json_get(tree, "metadata"), "namespace"));

		if (b->make == make_room) {
			client_patch(&b->client,
				     &(struct client_target){b->kind, NULL, node, "status"},
				     PATCH_MERGE, tree, NULL, made, b);
			continue;
		}
		client_create(&b->client, &(struct client_target){b->kind, ns}, tree, NULL, made,
			      b);
	}
}

static void make_all(struct bench *b, const char *resource, size_t n,
		     struct json *(*make)(struct bench *b, size_t i))
{
	b->kind = kind_of_resource("", "v1", resource);
	b->to_make = n;
	b->made = b->begun = 0;
	b->make = make;
	make_more(b);
	loop_run(b->loop);
}

static void pod_changed(void *ctx, const struct object *now, const struct object *before)
{
	struct bench *b = ctx;

	if (!now || !object_value(now, "spec.nodeName")[0] ||
	    (before && object_value(before, "spec.nodeName")[0]))
		return;
	if (++b->placed == b->pods)
		loop_stop(b->loop);
}

static void open_all(struct bench *b, const char *folder)
{
	auto_free char *path = mem_printf("%s/state.db", folder);
	struct keys_options k = {
		.path = path, .index = objects_index, .index_free = objects_index_free};
	struct objects_options o = {.service_cidr = "10.96.0.0/16"};
	struct err e;

	if (loop_new(&b->loop, &e) < 0)
		goto failed;
	k.loop = o.loop = b->loop;
	if (keys_open(&k, &b->keys, &e) < 0)
		goto failed;
	o.keys = b->keys;
	if (objects_new(&o, &b->objects, &e) < 0)
		goto failed;
	b->client = objects_client(b->objects, (struct identity){.user = "system:apiserver"});
	return;
failed:
	fprintf(stderr, "%s\n", e.text);
	exit(1);
}

static double cpu_of(const struct rusage *u)
{
	return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
	       (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	struct bench b = {0};
	struct rusage before, after;
	double seconds;
	int64_t began;

	if (argc != 5) {
		fprintf(stderr, "scheduler FOLDER NODES PODS basic|anti-affinity\n");
		return 2;
	}
	(void)mallopt(M_TRIM_THRESHOLD, MEMORY_KEPT_BYTES);
	b.what = argv[4];
	b.pods = (size_t)strtoull(argv[3], NULL, 10);
	open_all(&b, argv[1]);
	make_all(&b, "namespaces", 1, make_namespace);
	make_all(&b, "serviceaccounts", 1, make_account);
	make_all(&b, "nodes", (size_t)strtoull(argv[2], NULL, 10), make_node);
	make_all(&b, "nodes", b.made, make_room);
	began = world_monotonic_ns(&world_real);
	make_all(&b, "pods", b.pods, make_pod);
	fprintf(stderr, "pods made in %.1f s\n",
		(double)(world_monotonic_ns(&world_real) - began) / 1e9);
	(void)getrusage(RUSAGE_SELF, &before);
	b.informers = informers_new(b.loop, &b.client);
	informer_on(informer_of(b.informers, kind_of_resource("", "v1", "pods")), pod_changed, &b);
	began = world_monotonic_ns(&world_real);
	b.scheduler = scheduler_new(&(struct scheduler_options){
		.loop = b.loop, .client = &b.client, .informers = b.informers});
	loop_run(b.loop);
	seconds = (double)(world_monotonic_ns(&world_real) - began) / 1e9;
	(void)getrusage(RUSAGE_SELF, &after);
	printf("%.0f %.2f %.2f\n", (double)b.placed / seconds, seconds,
	       cpu_of(&after) - cpu_of(&before));
	fflush(stdout);
	_Exit(0); /* a measurement's store is thrown away */
}
