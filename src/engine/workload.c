/*
 * A container in memory and as a record: birth, end, JSON both ways. The record holds what must
 * survive the daemon: the request merged with the image's config, resolved mounts, the state. What
 * a run needs beside that (addresses, pid) is in the run directory and with the keeper.
 */
#include <sys/stat.h>

#include "engine/engine_priv.h"

static const char *const state_names[] = {
	"created", "running", "paused", "restarting", "removing", "exited", "dead",
};
static_assert(array_len(state_names) == WORKLOAD_STATES, "one name per state");

const char *workload_state_name(enum workload_state s)
{
	assert(s < WORKLOAD_STATES);
	return state_names[s];
}

static enum workload_state state_of(const char *name)
{
	for (size_t i = 0; i < array_len(state_names); i++)
		if (text_eq(name, state_names[i]))
			return (enum workload_state)i;
	return WORKLOAD_EXITED;
}

static enum owner owner_of(const char *name)
{
	for (int i = 0; i < OWNERS; i++)
		if (text_eq(name, owner_name((enum owner)i)))
			return (enum owner)i;
	return OWNER_DOCKER;
}

struct workload *as_workload(void *p)
{
	struct workload *w = p;

	assert(w->magic == WORKLOAD_MAGIC);
	return w;
}

struct workload *workload_new(struct engine *g, const char *id, enum owner owner, const char *name)
{
	struct workload *w = mem_new(struct workload);

	assert(strlen(id) == ENGINE_ID_HEX);
	w->magic = WORKLOAD_MAGIC;
	w->engine = g;
	memcpy(w->id, id, sizeof(w->id));
	w->owner = owner;
	w->name = mem_dup_text(name);
	w->hidden = true;
	w->dir = mem_printf("%s/container/%s", g->root, id);
	w->run_dir = mem_printf("%s/keeper/%s", g->run, id);
	w->error = mem_dup_text("");
	for (size_t i = 0; i < KEEPER_FD_READY_N; i++)
		w->fds.fds[i] = -1;
	list_init(&w->start_hooks);
	list_init(&w->end_hooks);
	list_init(&w->waiters);
	list_init(&w->clients);
	list_init(&w->execs);
	list_init(&w->followers);
	return w;
}

static void free_hooks(struct list *hooks)
{
	list_each (hooks, struct end_hook, link, h) {
		list_remove(&h->link);
		free(h);
	}
}

void workload_close_fds(struct workload *w)
{
	for (size_t i = 0; i < KEEPER_FD_READY_N; i++)
		w->fds.fds[i] = fd_close(w->fds.fds[i]);
}

static void free_health(struct workload *w)
{
	for (size_t i = 0; i < w->health.log_n; i++)
		free((char *)w->health_log[i].output);
	w->health.log_n = 0;
}

struct workload *workload_free(struct workload *w)
{
	if (!w)
		return NULL;
	assert(w->magic == WORKLOAD_MAGIC);
	w->keeper = keeper_free(w->keeper);
	w->restart_timer = w->restart_timer ? loop_timer_free(w->restart_timer) : NULL;
	if (!w->engine->closing)
		w->hold = image_hold_release(w->hold);
	attach_drop_all(w);
	exec_drop_all(w);
	wait_drop_all(w);
	logs_container_gone(w);
	free_hooks(&w->start_hooks);
	free_hooks(&w->end_hooks);
	workload_close_fds(w);
	free_health(w);
	w->lower = mem_free_texts(w->lower);
	for (size_t i = 0; i < array_len(w->borrowed); i++)
		w->borrowed[i] = json_free(w->borrowed[i]);
	free(w->plugs);
	arena_done(&w->arena);
	free(w->name);
	free(w->image_ref);
	free(w->dir);
	free(w->run_dir);
	free(w->cgroup_dirs);
	free(w->error);
	w->magic = 0;
	free(w);
	return NULL;
}

void workload_keep_json(struct workload *w)
{
	struct container_request *r = &w->request;
	struct json **const places[] = {&r->config.exposed_ports, &r->config.volumes,
					&r->host.port_bindings, &r->host.device_requests,
					&r->host.machine};

	static_assert(array_len(places) == array_len(((struct workload *)0)->borrowed), "all kept");
	for (size_t i = 0; i < array_len(places); i++) {
		struct json *copy = *places[i] ? json_copy(*places[i]) : NULL;

		(void)json_free(w->borrowed[i]);
		w->borrowed[i] = *places[i] = copy;
	}
	r->host.console_size = NULL;
}

bool workload_runs(const struct workload *w)
{
	return w->state == WORKLOAD_RUNNING || w->state == WORKLOAD_PAUSED ||
	       w->state == WORKLOAD_RESTARTING;
}

void workload_set_error(struct workload *w, const char *text)
{
	free(w->error);
	w->error = mem_dup_text(text ? text : "");
}

static struct json *encode_state(const struct workload *w)
{
	struct json *j = json_new_object();

	json_set_text(j, "status", workload_state_name(w->state));
	json_set_i64(j, "exitCode", w->exit_code);
	json_set_bool(j, "oomKilled", w->oom_killed);
	json_set_bool(j, "stoppedByUser", w->stopped_by_user);
	json_set_bool(j, "startedOnce", w->started_once);
	json_set_text(j, "error", w->error);
	json_set_i64(j, "started", w->started_ns);
	json_set_i64(j, "finished", w->finished_ns);
	json_set_i64(j, "restarts", w->restart_count);
	return j;
}

static struct json *encode(const struct workload *w)
{
	struct json *record = json_new_object();

	json_set_i64(record, "v", WORKLOAD_RECORD_VERSION);
	json_set_text(record, "name", w->name);
	json_set_text(record, "owner", owner_name(w->owner));
	json_set_i64(record, "created", w->created_ns);
	json_set_text(record, "imageId", w->image_id);
	json_set_text(record, "imageRef", w->image_ref);
	json_set_text(record, "platform", w->request.platform);
	json_set(record, "request", request_json(&w->request));
	json_set(record, "mounts", mounts_encode(w));
	json_set(record, "state", encode_state(w));
	return record;
}

void workload_save(struct workload *w, record_done *done, void *ctx)
{
	auto_json struct json *j = encode(w);
	auto_strbuf struct strbuf text = {0};

	assert(w->magic == WORKLOAD_MAGIC);
	json_write(j, &text);
	record_put(w->engine->records, "container", w->id, strbuf_str(&text), done, ctx);
}

static void decode_state(struct workload *w, const struct json *j)
{
	w->state = state_of(json_get_text(j, "status"));
	w->exit_code = (int)json_get_i64(j, "exitCode", 0);
	w->oom_killed = json_get_bool(j, "oomKilled", false);
	w->stopped_by_user = json_get_bool(j, "stoppedByUser", false);
	w->started_once = json_get_bool(j, "startedOnce", false);
	workload_set_error(w, json_get_text(j, "error"));
	w->started_ns = json_get_i64(j, "started", 0);
	w->finished_ns = json_get_i64(j, "finished", 0);
	w->restart_count = (int)json_get_i64(j, "restarts", 0);
}

static int decode(struct workload *w, const struct json *record, struct err *e)
{
	const char *image_id = json_get_text(record, "imageId");
	const char *platform = json_get_text(record, "platform");
	int bad;

	if (json_get_i64(record, "v", 0) > WORKLOAD_RECORD_VERSION)
		return err_set(e, ERR_UNSUPPORTED, "a newer release wrote it; use that release");
	if (!image_id || strlen(image_id) > IMAGE_DIGEST_CHARS)
		return err_set(e, ERR_INVALID, "imageId is missing");
	memcpy(w->image_id, image_id, strlen(image_id) + 1);
	w->image_ref = mem_dup_text(json_get_text(record, "imageRef"));
	w->created_ns = json_get_i64(record, "created", 0);
	bad = request_read(json_get(record, "request"), &w->arena, &w->request, e);
	if (bad < 0)
		return bad;
	w->request.name = w->name;
	w->request.platform = arena_dup_text(&w->arena, platform);
	workload_keep_json(w);
	bad = mounts_decode(w, json_get(record, "mounts"), e);
	if (bad < 0)
		return bad;
	w->runtime = runtime_find(w->request.host.runtime, e);
	if (!w->runtime)
		return -ERR_INVALID;
	decode_state(w, json_get(record, "state"));
	w->hidden = false;
	return 0;
}

int workload_decode(struct engine *g, const char *id, struct str text, struct workload **ret,
		    struct err *e)
{
	auto_json struct json *record = NULL;
	struct workload *w;
	const char *name;
	int bad = json_parse(text, "record", &record, e);

	if (bad < 0)
		return bad;
	name = json_get_text(record, "name");
	if (!name || strlen(id) != ENGINE_ID_HEX)
		return err_set(e, ERR_INVALID, "it has no name, or a bad id");
	w = workload_new(g, id, owner_of(json_get_text(record, "owner")), name);
	bad = decode(w, record, e);
	if (bad < 0) {
		(void)workload_free(w);
		return bad;
	}
	*ret = w;
	return 0;
}
