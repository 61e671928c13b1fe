/*
 * The place of the controllers' tests: a store in a file below, the whole pipeline, informers and
 * all controllers, with a clock that stands still. Tests write as a user would, play the node by
 * patching status, and look at what has become of it once nothing is left to do.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "cluster/controllers/controllers.h"
#include "cluster/objects/direct.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/rfc3339.h"
#include "ground/store/keys.h"
#include "ground/wire/loop.h"

#define PLACE_BEGIN_S INT64_C(1700000000)

struct place {
	char dir[64], path[96];
	struct loop *loop;
	struct keys *keys;
	struct objects *objects;
	struct client client;
	struct informers *informers;
	struct controllers *controllers;
	struct world world;
	int64_t now_s;
	struct err error;
	struct json *tree;
	struct json *list;
	bool called, settling;
};

static int64_t place_now(void *ctx)
{
	return ((struct place *)ctx)->now_s * 1000000000;
}

static int64_t place_monotonic(void *ctx)
{
	return place_now(ctx);
}

static void place_random(void *ctx, void *p, size_t n)
{
	(void)ctx;
	world_real.random(world_real.ctx, p, n);
}

static void place_check(void *arg)
{
	struct place *p = arg;

	if (p->settling && p->called && (!p->controllers || controllers_idle(p->controllers))) {
		p->settling = false;
		loop_stop(p->loop);
	}
}

static void place_nothing(void *arg)
{
	(void)arg;
}

/* Runs until the last call has ended and the controllers have nothing left to do. */
static void place_settle(struct place *p)
{
	p->settling = true;
	loop_post(p->loop, place_nothing, p);
	loop_run(p->loop);
}

static void place_ended(void *ctx, const struct outcome *o)
{
	struct place *p = ctx;

	p->error = o->error ? *o->error : (struct err){0};
	p->tree = json_free(p->tree);
	if (o->object)
		p->tree = object_copy(o->object);
	p->called = true;
}

static void place_listed(void *ctx, const struct list_outcome *l)
{
	struct place *p = ctx;

	p->error = l->error ? *l->error : (struct err){0};
	(void)json_free(p->list);
	p->list = json_new_array();
	for (size_t i = 0; i < l->n; i++)
		json_append(p->list, object_copy(l->items[i]));
	p->called = true;
}

__attribute__((unused)) static struct json *place_json(const char *fmt, ...)
{
	auto_strbuf struct strbuf text = {0};
	struct json *j = NULL;
	struct err e;
	va_list ap;

	va_start(ap, fmt);
	strbuf_vprintf(&text, fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] == '\'')
			text.p[i] = '"';
	if (json_parse(strbuf_str(&text), "test", &j, &e) < 0)
		fail_msg("%s: %s", e.text, strbuf_text(&text));
	return j;
}

static const struct kind *place_kind(const char *word)
{
	const struct kind *k = kind_of_word(word);

	assert_non_null(k);
	return k->stored;
}

static const char *place_namespace(const char *word)
{
	return place_kind(word)->flags & KIND_NAMESPACED ? "default" : NULL;
}

__attribute__((unused)) static void place_create(struct place *p, const char *word,
						 struct json *object)
{
	p->called = false;
	client_create(&p->client, &(struct client_target){place_kind(word), place_namespace(word)},
		      object, NULL, place_ended, p);
	place_settle(p);
	if (p->error.kind)
		fail_msg("%s", p->error.text);
}

__attribute__((unused)) static void place_patch(struct place *p, const char *word, const char *name,
						const char *sub, struct json *patch)
{
	p->called = false;
	client_patch(&p->client,
		     &(struct client_target){place_kind(word), place_namespace(word), name, sub},
		     PATCH_MERGE, patch, NULL, place_ended, p);
	place_settle(p);
	if (p->error.kind && p->error.kind != ERR_NOT_FOUND) /* it may just have been scaled away */
		fail_msg("%s", p->error.text);
}

__attribute__((unused)) static void place_delete(struct place *p, const char *word,
						 const char *name, enum client_propagation how)
{
	p->called = false;
	client_delete(&p->client,
		      &(struct client_target){place_kind(word), place_namespace(word), name, NULL},
		      &(struct delete_options){.grace_s = -1, .propagation = how}, place_ended, p);
	place_settle(p);
	if (p->error.kind)
		fail_msg("%s", p->error.text);
}

/* The object's tree, borrowed until the next call; NULL: not there. */
__attribute__((unused)) static const struct json *place_get(struct place *p, const char *word,
							    const char *name)
{
	p->called = false;
	client_get(&p->client,
		   &(struct client_target){place_kind(word), place_namespace(word), name}, NULL,
		   place_ended, p);
	place_settle(p);
	return p->error.kind ? NULL : p->tree;
}

/* All of a kind, borrowed until the next list. */
__attribute__((unused)) static const struct json *place_list(struct place *p, const char *word)
{
	p->called = false;
	client_list(&p->client, &(struct client_target){place_kind(word), place_namespace(word)},
		    &(struct list_query){0}, place_listed, p);
	place_settle(p);
	assert_int_equal(p->error.kind, ERR_NONE);
	return p->list;
}

__attribute__((unused)) static size_t place_count(struct place *p, const char *word)
{
	return json_len(place_list(p, word));
}

__attribute__((unused)) static const struct json *place_status(struct place *p, const char *word,
							       const char *name)
{
	return json_get(place_get(p, word, name), "status");
}

__attribute__((unused)) static const char *place_name(const struct json *object)
{
	return json_get_text(json_get(object, "metadata"), "name");
}

__attribute__((unused)) static const char *place_condition(const struct json *status,
							   const char *type, const char *member)
{
	const struct json *list = json_get(status, "conditions");

	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_get_text(json_at(list, i), "type"), type))
			return json_get_text(json_at(list, i), member);
	return NULL;
}

/* A node's word: the pod runs, with this readiness. */
__attribute__((unused)) static void place_run(struct place *p, const char *pod, bool ready)
{
	char now[RFC3339_CHARS + 1];

	rfc3339_text(place_now(p), now);
	place_patch(p, "pods", pod, "status",
		    place_json("{'status':{'phase':'Running','podIP':'10.0.0.%d','podIPs':[{'ip':"
			       "'10.0.0.%d'}],'conditions':[{'type':'Ready','status':'%s',"
			       "'lastTransitionTime':'%s'}]}}",
			       (int)(pod[strlen(pod) - 1] % 100), (int)(pod[strlen(pod) - 1] % 100),
			       ready ? "True" : "False", now));
}

/* Every pod that is not yet ready runs. */
__attribute__((unused)) static void place_run_all(struct place *p)
{
	auto_json struct json *pods = json_copy(place_list(p, "pods"));

	for (size_t i = 0; i < json_len(pods); i++) {
		const struct json *pod = json_at(pods, i);

		if (!text_eq(place_condition(json_get(pod, "status"), "Ready", "status"), "True") &&
		    !json_get(json_get(pod, "metadata"), "deletionTimestamp"))
			place_run(p, place_name(pod), true);
	}
}

__attribute__((unused)) static void place_end(struct place *p, const char *pod, const char *phase,
					      int code)
{
	place_patch(p, "pods", pod, "status",
		    place_json("{'status':{'phase':'%s','conditions':null,'containerStatuses':["
			       "{'name':'c','image':'i','imageID':'','ready':false,'restartCount':0"
			       ",'state':{'terminated':{'exitCode':%d}}}]}}",
			       phase, code));
}

__attribute__((unused)) static void place_up_with(struct place *p,
						  const struct node_directory *nodes)
{
	p->informers = informers_new(p->loop, &p->client);
	p->controllers = controllers_new(&(struct controllers_options){.loop = p->loop,
								       .world = &p->world,
								       .client = &p->client,
								       .informers = p->informers,
								       .ca_pem = "the authority",
								       .nodes = nodes});
	place_settle(p);
}

__attribute__((unused)) static void place_up(struct place *p)
{
	place_up_with(p, NULL);
}

__attribute__((unused)) static void place_down(struct place *p)
{
	p->informers = informers_free(p->informers);
	p->controllers = controllers_free(p->controllers);
}

__attribute__((unused)) static int place_set_up(void **state)
{
	struct place *p = mem_new(struct place);
	struct keys_options o = {.index = objects_index, .index_free = objects_index_free};
	struct objects_options oo = {.service_cidr = "10.96.0.0/24"};
	struct err e = {0};

	p->now_s = PLACE_BEGIN_S;
	p->world = (struct world){place_now, place_monotonic, place_random, p};
	p->called = true;
	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/hull-controllers-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(p->path, sizeof(p->path), "%s/keys.db", p->dir);
	assert_int_equal(loop_new(&p->loop, &e), 0);
	o.loop = oo.loop = p->loop;
	o.path = p->path;
	oo.world = &p->world;
	assert_int_equal(keys_open(&o, &p->keys, &e), 0);
	oo.keys = p->keys;
	assert_int_equal(objects_new(&oo, &p->objects, &e), 0);
	p->client = objects_client(p->objects, (struct identity){.user = "tester"});
	loop_turn_end(p->loop, place_check, p);
	*state = p;
	place_create(p, "namespaces", place_json("{'metadata':{'name':'default'}}"));
	place_up(p);
	return 0;
}

__attribute__((unused)) static int place_tear_down(void **state)
{
	static const char *const names[] = {"keys.db", "keys.db-wal", "keys.db-shm"};
	struct place *p = *state;

	place_down(p);
	/* Behind events, which nobody waits for. */
	place_create(p, "namespaces", place_json("{'metadata':{'name':'last'}}"));
	p->objects = objects_free(p->objects);
	p->keys = keys_close(p->keys);
	for (size_t i = 0; i < array_len(names); i++) {
		auto_free char *path = mem_printf("%s/%s", p->dir, names[i]);

		(void)unlink(path);
	}
	(void)rmdir(p->dir);
	loop_turn_end_cancel(p->loop, place_check, p);
	(void)loop_free(p->loop);
	(void)json_free(p->tree);
	(void)json_free(p->list);
	free(p);
	return 0;
}
