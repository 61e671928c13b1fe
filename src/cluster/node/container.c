/*
 * Containers of a pod: incarnations of one name, each a container of the engine without a restart
 * policy. A new one is made when the pod's policy says so, after a delay that doubles with each
 * failure; the one before is kept for its log. Labels say whose a container is, so that a later
 * daemon finds it again.
 */
#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"
#include "ground/base/parse.h"
#include "ground/wire/loop.h"

#define LABEL_UID	  "io.kubernetes.pod.uid"
#define LABEL_NAME	  "io.kubernetes.container.name"
#define HOOK_MAX_MS	  3600000 /* of a postStart */
#define HOOK_GRACE_S	  2	  /* that a container gets after its preStop, whatever that took */
#define START_FAILED_CODE 128	  /* the exit code of what never ran */
#define WORDS_MAX	  4096	  /* bytes of a termination message */
#define WORDS_LINES	  80	  /* of a log, in its place */
#define SIGNALLED	  128	  /* exit codes above it name a signal */
#define LABEL_ATTEMPT	  "io.kubernetes.container.restartCount"

void container_clear(struct pod_container *c)
{
	free(c->reason);
	free(c->message);
	c->reason = c->message = NULL;
}

void container_wait(struct pod_container *c, const char *reason, const char *message)
{
	container_clear(c);
	c->reason = mem_dup_text(reason);
	c->message = mem_dup_text(message);
}

bool container_runs(const struct pod_container *c)
{
	return c->exists && (c->state == WORKLOAD_RUNNING || c->state == WORKLOAD_PAUSED ||
			     c->state == WORKLOAD_RESTARTING);
}

bool container_ended(const struct pod_container *c)
{
	return c->exists && (c->state == WORKLOAD_EXITED || c->state == WORKLOAD_DEAD) &&
	       c->finished_ns != 0;
}

bool container_done(const struct pod_container *c, const char *policy)
{
	if (!container_ended(c))
		return false;
	if (c->part == PART_SIDECAR)
		return false;
	if (c->part == PART_INIT && text_eq(policy, "Always"))
		policy = "OnFailure";
	if (text_eq(policy, "Never"))
		return true;
	return text_eq(policy, "OnFailure") && c->exit_code == 0;
}

const struct json *container_spec_now(const struct pod_container *c)
{
	const struct object *o = informer_get_key(c->pod->agent->pods, c->pod->key);

	if (!o || !text_eq(o->uid, c->pod->uid))
		return NULL;
	return pod_container_spec(json_get(object_tree(o), "spec"), c);
}

/* -- last words -------------------------------------------------------------------------------- */

char *container_words_path(const struct pod_container *c)
{
	return mem_printf("%s/last-words/%s.%d", c->pod->dir, c->name, c->attempt);
}

static int log_line(void *ctx, const struct log_entry *l)
{
	struct pod_container *c = ctx;
	size_t have = strlen(c->last_words), n = l->n < WORDS_MAX ? l->n : WORDS_MAX;
	char *text;

	if (have + n > WORDS_MAX) { /* the last ones count */
		size_t cut = have + n - WORDS_MAX;

		text = mem_printf("%s%.*s", c->last_words + (cut < have ? cut : have), (int)n,
				  l->p);
	} else {
		text = mem_printf("%s%.*s", c->last_words, (int)n, l->p);
	}
	free(c->last_words);
	c->last_words = text;
	return 0;
}

static void log_read(void *ctx, const struct err *e)
{
	struct pod_container *c = ctx;

	(void)e;
	c->reading = NULL;
	pod_again(c->pod);
}

/* What it left at its terminationMessagePath; of a failure, by its policy, the end of its log. */
static void read_last_words(struct pod_container *c)
{
	static const struct log_options log = {
		.stdout_ = true, .stderr_ = true, .tail = WORDS_LINES};
	auto_free char *path = container_words_path(c);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	const struct json *spec = container_spec_now(c);
	char text[WORDS_MAX + 1];
	ssize_t n = fd < 0 ? 0 : read(fd, text, WORDS_MAX);
	struct err e;

	text[n > 0 ? n : 0] = '\0';
	c->last_words = mem_dup_text(c->start_error ? c->start_error : text);
	if (c->start_error || n > 0 || c->exit_code == 0 ||
	    !text_eq(json_get_text(spec, "terminationMessagePolicy"), "FallbackToLogsOnError"))
		return;
	if (engine_logs(c->pod->agent->user, c->id, &log, &(struct log_sink){log_line, log_read, c},
			&c->reading, &e) < 0)
		log_debug("container %s of pod %s: %s", c->name, c->pod->key, e.text);
}

/* -- looking ----------------------------------------------------------------------------------- */

void container_forget(struct pod_container *c)
{
	probes_stop(c);
	if (c->hook)
		c->busy = false;
	c->hook = action_cancel(c->hook);
	if (c->reading)
		stream_cancel(c->reading);
	c->reading = NULL;
	free(c->last_words);
	free(c->start_error);
	c->last_words = c->start_error = NULL;
}

void container_look(struct pod_container *c)
{
	auto_arena struct arena a = {0};
	struct container_view *v;
	struct err e;

	c->exists = false;
	if (!c->id[0])
		return;
	if (engine_inspect(c->pod->agent->user, c->id, &a, &v, &e) < 0) {
		if (!c->busy)
			c->id[0] = '\0';
		return;
	}
	c->exists = true;
	c->state = v->state;
	c->exit_code = v->exit_code;
	c->oom_killed = v->oom_killed;
	c->started_ns = v->started_ns;
	c->finished_ns = v->finished_ns;
	free(c->image_id);
	c->image_id = mem_dup_text(v->image_id);
	if (container_runs(c))
		return;
	if (c->start_error) {
		c->state = WORKLOAD_EXITED;
		c->exit_code = START_FAILED_CODE;
		c->started_ns = c->finished_ns = c->failed_ns;
	}
	probes_stop(c);
	c->started = c->ready = false;
	if (container_ended(c) && !c->last_words && !c->reading)
		read_last_words(c);
}

void container_probe(struct pod_container *c, const struct json *spec)
{
	if (spec && container_runs(c) && !c->probed && !c->wanted_stop && !c->hook)
		probes_start(c, spec);
}

/* -- found again ------------------------------------------------------------------------------- */

static const char *label(const struct container_view *v, const char *key)
{
	for (const struct json_pair *p = v->config->labels; p && p->key; p++)
		if (text_eq(p->key, key))
			return p->value;
	return NULL;
}

static void adopt_one(struct pod *p, const struct container_view *v)
{
	const char *name = label(v, LABEL_NAME), *attempt = label(v, LABEL_ATTEMPT);
	struct pod_container *c = name ? pod_container_find(p, name) : NULL;
	uint32_t n = 0;
	struct err e;

	if (!c || !attempt || parse_u32(str_of(attempt), "attempt", &n, &e) < 0)
		return;
	if (c->id[0] && c->attempt >= (int)n) {
		if (!c->last_id[0])
			(void)snprintf(c->last_id, sizeof(c->last_id), "%s", v->id);
		return;
	}
	if (c->id[0])
		memcpy(c->last_id, c->id, sizeof(c->last_id));
	(void)snprintf(c->id, sizeof(c->id), "%s", v->id);
	c->attempt = (int)n;
	c->adopted = true;
}

void container_adopt(struct pod *p)
{
	auto_arena struct arena a = {0};
	auto_free char *wanted = mem_printf(LABEL_UID "=%s", p->uid);
	char *const values[] = {wanted, NULL};
	struct filter filter = {"label", values};
	struct list_options o = {.all = true, .filters = {&filter, 1}};
	struct container_view **list;
	size_t n = 0;
	struct err e;

	if (engine_list(p->agent->user, &o, &a, &list, &n, &e) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		adopt_one(p, list[i]);
}

/* -- making and starting ----------------------------------------------------------------------- */

void container_failed(struct pod_container *c, const char *reason, const char *text)
{
	bool news = !text_eq(c->reason, reason) || !text_eq(c->message, text);
	int64_t now = loop_now_ms(c->pod->agent->loop);

	container_wait(c, reason, text);
	if (news)
		node_event(c->pod, "Warning", "Failed", c->name, "%s", text);
	c->backoff_s = c->backoff_s ? c->backoff_s * 2 : BACKOFF_S;
	if (c->backoff_s > BACKOFF_MAX_S)
		c->backoff_s = BACKOFF_MAX_S;
	c->not_before_ms = now + c->backoff_s * 1000;
	workqueue_add_after(c->pod->agent->queue, c->pod->key, c->backoff_s * 1000);
}

static void greeted(void *ctx, bool good, const char *text)
{
	struct pod_container *c = ctx;

	c->hook = NULL;
	c->busy = false;
	if (!good) {
		node_event(c->pod, "Warning", "FailedPostStartHook", c->name,
			   "PostStartHook failed: %s; the container is ended and started again by "
			   "the pod's policy",
			   text);
		container_stop(c, c->pod->grace_s);
	}
	pod_again(c->pod);
}

static void started(void *ctx, bool unchanged, const struct err *e)
{
	struct pod_container *c = ctx;
	const struct json *spec = container_spec_now(c),
			  *hook = json_get(json_get(spec, "lifecycle"), "postStart");

	(void)unchanged;
	c->busy = false;
	if (e) { /* this incarnation has ended; the pod's policy says whether there is a next */
		free(c->start_error);
		c->start_error = mem_dup_text(e->text);
		c->failed_ns = world_now_ns(c->pod->agent->world);
		container_clear(c);
		node_event(c->pod, "Warning", "Failed", c->name, "Error: %s", e->text);
		pod_again(c->pod);
		return;
	}
	container_clear(c);
	node_event(c->pod, "Normal", "Started", c->name, "Started container %s", c->name);
	if (hook) {
		c->busy = true;
		c->hook = action_start(c, spec, hook, HOOK_MAX_MS, greeted, c);
	}
	pod_again(c->pod);
}

static void start(struct pod_container *c)
{
	c->busy = true;
	engine_start(c->pod->agent->user, c->id, started, c);
}

static void created(void *ctx, const char *id, char *const *warnings, const struct err *e)
{
	struct pod_container *c = ctx;

	(void)warnings;
	c->busy = false;
	if (e) {
		container_failed(c, "CreateContainerError", e->text);
		pod_again(c->pod);
		return;
	}
	(void)snprintf(c->id, sizeof(c->id), "%s", id);
	node_event(c->pod, "Normal", "Created", c->name, "Created container: %s", c->name);
	start(c);
}

static void add_label(struct json *labels, const char *key, const char *value)
{
	json_set_text(labels, key, value);
}

static void add_labels(const struct pod_container *c, struct json *body)
{
	struct json *labels = json_new_object();
	char attempt[16];

	(void)snprintf(attempt, sizeof(attempt), "%d", c->attempt);
	add_label(labels, LABEL_UID, c->pod->uid);
	add_label(labels, "io.kubernetes.pod.name", c->pod->name);
	add_label(labels, "io.kubernetes.pod.namespace", c->pod->namespace);
	add_label(labels, LABEL_NAME, c->name);
	add_label(labels, LABEL_ATTEMPT, attempt);
	json_set(body, "Labels", labels);
}

static void create(struct pod_container *c, const struct json *spec)
{
	struct pod *p = c->pod;
	const struct object *o = informer_get_key(p->agent->pods, p->key);
	auto_arena struct arena a = {0};
	auto_json struct json *body = NULL;
	auto_free char *name = mem_printf("k8s_%s_%s_%s_%s_%d", c->name, p->name, p->namespace,
					  p->uid, c->attempt);
	struct container_request r;
	struct err e;

	if (!o)
		return;
	if (container_spec(p, c, spec, object_tree(o), &body, &e) < 0) {
		container_failed(c, "CreateContainerConfigError", e.text);
		return;
	}
	add_labels(c, body);
	if (request_read(body, &a, &r, &e) < 0) {
		container_failed(c, "CreateContainerConfigError", e.text);
		return;
	}
	r.name = name;
	c->busy = true;
	if (!c->reason)
		container_wait(c, "ContainerCreating", NULL);
	engine_create(p->agent->user, &r, created, c);
}

/* -- the next incarnation ---------------------------------------------------------------------- */

static void forgotten(void *ctx, const struct err *e)
{
	(void)ctx;
	(void)e;
}

struct json *container_terminated(const struct pod_container *c)
{
	struct json *outer = json_new_object(), *t = json_new_object();
	char from[NODE_TIME], to[NODE_TIME];
	auto_free char *id = mem_printf("hull://%s", c->id);

	json_set_i64(t, "exitCode", c->exit_code);
	if (c->exit_code > SIGNALLED && c->exit_code < SIGNALLED + NSIG)
		json_set_i64(t, "signal", c->exit_code - SIGNALLED);
	json_set_text(t, "reason",
		      c->start_error	  ? "StartError"
		      : c->oom_killed	  ? "OOMKilled"
		      : c->exit_code == 0 ? "Completed"
					  : "Error");
	if (c->last_words && c->last_words[0])
		json_set_text(t, "message", c->last_words);
	json_set_text(t, "startedAt", rfc3339_seconds(c->started_ns, from));
	json_set_text(t, "finishedAt", rfc3339_seconds(c->finished_ns, to));
	json_set_text(t, "containerID", id);
	json_set(outer, "terminated", t);
	return outer;
}

/* How long this one has to wait after its last end. */
static void back_off(struct pod_container *c)
{
	int64_t ran_s = (c->finished_ns - c->started_ns) / 1000000000;
	int64_t since_ms = (world_now_ns(c->pod->agent->world) - c->finished_ns) / 1000000;

	if (ran_s >= BACKOFF_RESET_S)
		c->backoff_s = 0;
	c->not_before_ms = loop_now_ms(c->pod->agent->loop) + c->backoff_s * 1000 - since_ms;
	c->backoff_s = c->backoff_s ? c->backoff_s * 2 : BACKOFF_S;
	if (c->backoff_s > BACKOFF_MAX_S)
		c->backoff_s = BACKOFF_MAX_S;
}

/* The present incarnation becomes the last one. */
static void retire(struct pod_container *c)
{
	(void)json_free(c->last_state);
	c->last_state = container_terminated(c);
	if (c->last_id[0])
		engine_remove(c->pod->agent->user, c->last_id,
			      &(struct remove_options){.force = true, .volumes = true}, forgotten,
			      NULL);
	memcpy(c->last_id, c->id, sizeof(c->last_id));
	c->id[0] = '\0';
	c->exists = c->wanted_stop = c->adopted = c->killed = c->pulled = false;
	c->attempt++;
	free(c->last_words);
	free(c->start_error);
	c->last_words = c->start_error = NULL;
	back_off(c);
}

static bool must_wait(struct pod_container *c)
{
	int64_t left = c->not_before_ms - loop_now_ms(c->pod->agent->loop);

	if (left <= 0)
		return false;
	if (c->attempt > 0 && !c->reason) {
		auto_free char *text =
			mem_printf("back-off %llds restarting failed container=%s pod=%s_%s(%s)",
				   (long long)(c->backoff_s / 2 > 0 ? c->backoff_s / 2 : 0),
				   c->name, c->pod->name, c->pod->namespace, c->pod->uid);

		container_wait(c, "CrashLoopBackOff", text);
		node_event(c->pod, "Warning", "BackOff", c->name,
			   "Back-off restarting failed container %s in pod %s", c->name,
			   c->pod->key);
	}
	workqueue_add_after(c->pod->agent->queue, c->pod->key, left);
	return true;
}

/* Nothing of its last incarnation is in the way; false: not yet. */
static bool may_begin(struct pod_container *c)
{
	if (container_ended(c) && c->reading)
		return false; /* its last words belong to its end */
	if (container_ended(c))
		retire(c);
	return !must_wait(c);
}

void container_advance(struct pod_container *c, const struct json *spec)
{
	if (!spec || c->busy || container_runs(c) || !may_begin(c))
		return;
	if (text_eq(c->reason, "CrashLoopBackOff"))
		container_clear(c);
	if (c->exists && c->state == WORKLOAD_CREATED)
		start(c);
	else if (!c->exists && pull_ensure(c, spec))
		create(c, spec);
}

/* -- ending ------------------------------------------------------------------------------------ */

static void stopped(void *ctx, bool unchanged, const struct err *e)
{
	struct pod_container *c = ctx;

	(void)unchanged;
	c->busy = false;
	if (e)
		c->wanted_stop = false;
	pod_again(c->pod);
}

static void stop_now(struct pod_container *c)
{
	int64_t left_ms = c->stop_by_ms - loop_now_ms(c->pod->agent->loop), s;
	struct stop_options o = {0};

	s = (left_ms + 999) / 1000;
	if (c->had_hook && s < HOOK_GRACE_S)
		s = HOOK_GRACE_S; /* what the hook used up is not all of its grace */
	o.timeout_s = s > INT32_MAX ? INT32_MAX : s < 0 ? 0 : (int)s;
	c->busy = true;
	engine_stop(c->pod->agent->user, c->id, &o, stopped, c);
}

static void said_goodbye(void *ctx, bool good, const char *text)
{
	struct pod_container *c = ctx;

	c->hook = NULL;
	if (!good)
		node_event(c->pod, "Warning", "FailedPreStopHook", c->name,
			   "PreStopHook failed: %s; the container is told to stop now", text);
	stop_now(c);
}

void container_stop(struct pod_container *c, int64_t grace_s)
{
	const struct json *spec = container_spec_now(c),
			  *hook = json_get(json_get(spec, "lifecycle"), "preStop");

	if (c->busy || c->wanted_stop)
		return;
	c->wanted_stop = true;
	c->ready = false;
	c->stop_by_ms = loop_now_ms(c->pod->agent->loop) + grace_s * 1000;
	probes_stop(c);
	node_event(c->pod, "Normal", "Killing", c->name, "Stopping container %s", c->name);
	c->had_hook = hook && grace_s > 0;
	if (!c->had_hook) {
		stop_now(c);
		return;
	}
	c->busy = true;
	c->hook = action_start(c, spec, hook, grace_s * 1000, said_goodbye, c);
}

void container_kill(struct pod_container *c)
{
	if (c->hook) { /* nobody waits for it any more */
		c->hook = action_cancel(c->hook);
		c->busy = c->wanted_stop = false;
	}
	if (!c->wanted_stop || c->killed || !container_runs(c))
		return;
	c->killed = true;
	engine_kill(c->pod->agent->user, c->id, "KILL", forgotten, NULL);
}

static void removed(void *ctx, const struct err *e)
{
	struct pod_container *c = ctx;

	c->busy = false;
	if (e && e->kind != ERR_NOT_FOUND)
		log_warn("container %s of pod %s: %s", c->name, c->pod->key, e->text);
	pod_again(c->pod);
}

void container_remove(struct pod_container *c)
{
	struct remove_options o = {.force = true, .volumes = true};
	char id[ENGINE_ID_HEX + 1];
	char *which = c->last_id[0] ? c->last_id : c->id;

	memcpy(id, which, sizeof(id));
	which[0] = '\0';
	c->busy = true;
	engine_remove(c->pod->agent->user, id, &o, removed, c);
}
