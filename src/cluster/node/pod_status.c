/*
 * The status of a pod: what its containers do, in Kubernetes' words. It is made anew at every look
 * and written when it differs from what was told last.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/node/agent_priv.h"
#include "ground/base/log.h"
#include "ground/base/mem.h"
#include "ground/base/own.h"

/* -- one container ----------------------------------------------------------------------------- */

static bool has_init(const struct pod *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->containers[i].part == PART_INIT || p->containers[i].part == PART_SIDECAR)
			return true;
	return false;
}

static struct json *waiting(const struct pod_container *c)
{
	struct json *outer = json_new_object(), *w = json_new_object();
	const char *reason = c->reason;

	if (!reason)
		reason = has_init(c->pod) ? "PodInitializing" : "ContainerCreating";
	json_set_text(w, "reason", reason);
	if (c->message)
		json_set_text(w, "message", c->message);
	json_set(outer, "waiting", w);
	return outer;
}

static struct json *running(const struct pod_container *c)
{
	struct json *outer = json_new_object(), *r = json_new_object();
	char at[NODE_TIME];

	json_set_text(r, "startedAt", rfc3339_seconds(c->started_ns, at));
	json_set(outer, "running", r);
	return outer;
}

static struct json *container_status(const struct pod_container *c, const struct json *spec)
{
	const struct json *own = podspec_container(spec, c->name);
	auto_free char *id = c->id[0] ? mem_printf("hull://%s", c->id) : NULL;
	struct json *s = json_new_object();
	bool runs = container_runs(c);

	json_set_text(s, "name", c->name);
	json_set(s, "state",
		 runs				    ? running(c)
		 : container_ended(c) && !c->reason ? container_terminated(c)
						    : waiting(c));
	json_set(s, "lastState", c->last_state ? json_ref(c->last_state) : json_new_object());
	json_set_bool(s, "ready",
		      c->part == PART_INIT ? container_ended(c) && c->exit_code == 0
					   : runs && c->ready);
	json_set_bool(s, "started", runs && c->started);
	/* what waits for its next incarnation still counts as the one before */
	json_set_i64(s, "restartCount", c->exists || !c->attempt ? c->attempt : c->attempt - 1);
	json_set_text(s, "image", json_get_text(own, "image"));
	json_set_text(s, "imageID", c->image_id ? c->image_id : "");
	if (id)
		json_set_text(s, "containerID", id);
	return s;
}

static struct json *statuses(const struct pod *p, const struct json *spec, enum pod_part a,
			     enum pod_part b)
{
	struct json *list = json_new_array();

	for (size_t i = 0; i < p->n; i++)
		if (p->containers[i].part == a || p->containers[i].part == b)
			json_append(list, container_status(&p->containers[i], spec));
	return list;
}

/* -- phase ------------------------------------------------------------------------------------- */

struct sums {
	size_t main, running, ready, succeeded, failed, waiting;
	bool initialized, init_failed;
};

static void count_init(const struct pod_container *c, const char *policy, struct sums *s)
{
	bool fine = c->part == PART_SIDECAR ? container_runs(c) && c->started
					    : container_ended(c) && c->exit_code == 0;

	if (fine)
		return;
	s->initialized = false;
	s->init_failed = s->init_failed || container_done(c, policy);
}

static void count_main(const struct pod_container *c, const char *policy, struct sums *s)
{
	bool runs = container_runs(c), done = container_done(c, policy);

	s->main++;
	s->running += runs;
	s->ready += runs && c->ready;
	s->succeeded += done && c->exit_code == 0;
	s->failed += done && c->exit_code != 0;
	s->waiting += !runs && !done && !c->attempt && !container_ended(c);
}

static void sum_up(const struct pod *p, const char *policy, struct sums *s)
{
	*s = (struct sums){.initialized = true};
	for (size_t i = 0; i < p->n; i++) {
		if (p->containers[i].part == PART_MAIN)
			count_main(&p->containers[i], policy, s);
		else if (p->containers[i].part != PART_EPHEMERAL)
			count_init(&p->containers[i], policy, s);
	}
}

static const char *phase_of(const struct sums *s)
{
	if (s->init_failed)
		return "Failed";
	if (s->main && s->succeeded == s->main)
		return "Succeeded";
	if (s->main && s->succeeded + s->failed == s->main)
		return "Failed";
	if (!s->initialized || s->waiting)
		return "Pending";
	return "Running";
}

static const char *qos_of(const struct json *spec)
{
	static const char *const names[] = {"cpu", "memory"};
	const struct json *list = json_get(spec, "containers");
	bool any = false, all = true;

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *r = json_get(json_at(list, i), "resources");
		const struct json *requests = json_get(r, "requests"),
				  *limits = json_get(r, "limits");

		for (size_t n = 0; n < array_len(names); n++) {
			const char *request = json_get_text(requests, names[n]),
				   *limit = json_get_text(limits, names[n]);

			any = any || request || limit;
			all = all && limit && text_eq(request, limit);
		}
	}
	return !any ? "BestEffort" : all ? "Guaranteed" : "Burstable";
}

/* -- conditions -------------------------------------------------------------------------------- */

static void add_condition(const struct pod *p, struct json *list, const struct json *old,
			  const char *type, bool value, const char *reason, const char *message)
{
	const struct json *was = json_find(json_get(old, "conditions"), "type", type);
	struct json *c = json_new_object();
	const char *text = value ? "True" : "False";
	char now[NODE_TIME];

	json_set_text(c, "type", type);
	json_set_text(c, "status", text);
	json_set_text(c, "lastTransitionTime",
		      text_eq(json_get_text(was, "status"), text)
			      ? json_get_text(was, "lastTransitionTime")
			      : rfc3339_seconds(world_now_ns(p->agent->world), now));
	if (!value && reason) {
		json_set_text(c, "reason", reason);
		if (message)
			json_set_text(c, "message", message);
	}
	json_append(list, c);
}

static char *unready_names(const struct pod *p, enum pod_part part)
{
	auto_strbuf struct strbuf out = {0};

	for (size_t i = 0; i < p->n; i++) {
		const struct pod_container *c = &p->containers[i];
		bool fine = part == PART_INIT ? container_ended(c) && c->exit_code == 0
					      : container_runs(c) && c->ready;

		if (c->part == part && !fine)
			strbuf_printf(&out, "%s%s", out.n ? " " : "", c->name);
	}
	return strbuf_take(&out);
}

static bool gates_open(const struct json *pod)
{
	const struct json *gates = json_get(json_get(pod, "spec"), "readinessGates");
	const struct json *conditions = json_get(json_get(pod, "status"), "conditions");

	for (size_t i = 0; i < json_len(gates); i++) {
		const char *type = json_get_text(json_at(gates, i), "conditionType");

		if (!text_eq(json_get_text(json_find(conditions, "type", type), "status"), "True"))
			return false;
	}
	return true;
}

static bool is_ours(const char *type)
{
	static const char *const ours[] = {"PodReadyToStartContainers", "Initialized", "Ready",
					   "ContainersReady", "PodScheduled"};

	for (size_t i = 0; i < array_len(ours); i++)
		if (text_eq(ours[i], type))
			return true;
	return false;
}

static struct json *conditions(const struct pod *p, const struct json *pod, const struct sums *s)
{
	const struct json *old = json_get(pod, "status"), *others = json_get(old, "conditions");
	struct json *list = json_new_array();
	auto_free char *init = unready_names(p, PART_INIT), *main = unready_names(p, PART_MAIN);
	auto_free char *init_text = mem_printf("containers with incomplete status: [%s]", init);
	auto_free char *main_text = mem_printf("containers with unready status: [%s]", main);
	bool ready = s->main && s->ready == s->main && s->initialized && !p->stopping &&
		     !p->failed_reason;
	bool over = s->main && s->succeeded == s->main;

	add_condition(p, list, old, "PodReadyToStartContainers", p->sandbox[0] != '\0', NULL, NULL);
	add_condition(p, list, old, "Initialized", s->initialized, "ContainersNotInitialized",
		      init_text);
	add_condition(p, list, old, "Ready", ready && gates_open(pod),
		      over ? "PodCompleted" : "ContainersNotReady", over ? NULL : main_text);
	add_condition(p, list, old, "ContainersReady", ready,
		      over ? "PodCompleted" : "ContainersNotReady", over ? NULL : main_text);
	add_condition(p, list, old, "PodScheduled", true, NULL, NULL);
	for (size_t i = 0; i < json_len(others); i++)
		if (!is_ours(json_get_text(json_at(others, i), "type")))
			json_append(list, json_copy(json_at(others, i)));
	return list;
}

/* -- all of it --------------------------------------------------------------------------------- */

static void set_addresses(struct pod *p, struct json *status)
{
	const char *ip = pod_ip(p);
	struct json *list = json_new_array(), *one = json_new_object();

	json_set_text(one, "ip", p->agent->o.address);
	json_append(list, one);
	json_set_text(status, "hostIP", p->agent->o.address);
	json_set(status, "hostIPs", list);
	if (!ip[0])
		return;
	json_set_text(status, "podIP", ip);
	list = json_new_array();
	one = json_new_object();
	json_set_text(one, "ip", ip);
	json_append(list, one);
	json_set(status, "podIPs", list);
}

struct json *status_of_pod(struct pod *p, const struct json *pod)
{
	const struct json *spec = json_get(pod, "spec");
	const char *policy = json_get_text(spec, "restartPolicy"), *qos;
	const char *start = json_get_text(json_get(pod, "status"), "startTime");
	struct json *status = json_new_object();
	char now[NODE_TIME];
	struct sums s;

	sum_up(p, policy, &s);
	json_set_text(status, "phase", p->failed_reason ? "Failed" : phase_of(&s));
	if (p->failed_reason) {
		json_set_text(status, "reason", p->failed_reason);
		json_set_text(status, "message", p->failed_message);
	}
	json_set(status, "conditions", conditions(p, pod, &s));
	set_addresses(p, status);
	json_set_text(status, "startTime", start ? start : rfc3339_seconds(p->started_ns, now));
	json_set(status, "containerStatuses", statuses(p, spec, PART_MAIN, PART_MAIN));
	if (json_len(json_get(spec, "initContainers")))
		json_set(status, "initContainerStatuses",
			 statuses(p, spec, PART_INIT, PART_SIDECAR));
	if (json_len(json_get(spec, "ephemeralContainers")))
		json_set(status, "ephemeralContainerStatuses",
			 statuses(p, spec, PART_EPHEMERAL, PART_EPHEMERAL));
	qos = qos_of(spec);
	json_set_text(status, "qosClass", qos);
	return status;
}

static void written(void *ctx, const struct outcome *o)
{
	struct pod *p = ctx;

	assert(p->magic == POD_MAGIC);
	p->writing = false;
	if (o->error && o->error->kind != ERR_NOT_FOUND) {
		log_warn("pod %s: its status was not written: %s", p->key, o->error->text);
		p->told = json_free(p->told);
		workqueue_add_after(p->agent->queue, p->key, 1000);
		return;
	}
	pod_again(p);
}

void status_write(struct pod *p, const struct object *o)
{
	auto_json struct json *status = status_of_pod(p, object_tree(o));
	struct json *patch, *meta;

	if (p->writing || (p->told && json_equal(p->told, status)))
		return;
	(void)json_free(p->told);
	p->told = json_ref(status);
	patch = json_new_object();
	meta = json_new_object();
	json_set_text(meta, "uid", p->uid); /* never another pod of this name */
	json_set(patch, "metadata", meta);
	json_set(patch, "status", json_copy(status));
	p->writing = true;
	client_patch(&p->agent->client,
		     &(struct client_target){o->kind, o->namespace, o->name, "status"}, PATCH_MERGE,
		     patch, NULL, written, p);
}
