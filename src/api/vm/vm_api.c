/*
 * The calls of the control socket: see vm_api.h. The configuration is one JSON tree that the calls
 * fill, checked by section.c; nothing is done with it before InstanceStart.
 */
#include "api/vm/vm_api.h"

#include <assert.h>
#include <stdlib.h>

#include "api/vm/section.h"
#include "ground/base/mem.h"
#include "ground/wire/http_server.h"

#define VM_API_MAGIC	 0x564d4150u
#define VERSION		 "0.1.0"
#define LIKE_FIRECRACKER "1.4.0" /* the description whose shapes these are */
#define STATUS_DONE	 204
#define STATUS_WRONG	 400
#define PATH_PARTS_MAX	 3

struct vm_api {
	unsigned magic;
	struct http_server *server;
	const struct vm_api_ops *ops;
	void *ctx;
	char *id;
	struct json *config;
};

struct call {
	struct vm_api *api;
	char *part[PATH_PARTS_MAX]; /* of the path; "" where there is none */
	struct json *body;	    /* NULL: none */
	struct json *answer;
};

static bool is_started(const struct vm_api *a)
{
	return a->ops->state(a->ctx) != VM_API_NOT_STARTED;
}

/* ---- configuration ---- */

static int insist_not_started(const struct vm_api *a, struct err *e)
{
	return is_started(a) ? err_set(e, ERR_CONFLICT,
				       "not possible any more: the machine was "
				       "started")
			     : 0;
}

static void put_in_list(struct json *list, const struct section *s, const char *id,
			const struct json *body)
{
	struct json *fresh = json_copy(body);
	struct json_iter it = {0};
	const char *key;
	struct json *value;

	for (size_t i = 0; i < json_len(list); i++) {
		struct json *one = json_at(list, i);

		if (!text_eq(json_get_text(one, s->id_key), id))
			continue;
		while (json_next(fresh, &it, &key, &value))
			json_set(one, key, json_copy(value));
		(void)json_free(fresh);
		return;
	}
	json_append(list, fresh);
}

static bool has_id(const struct json *list, const struct section *s, const char *id)
{
	for (size_t i = 0; i < json_len(list); i++)
		if (text_eq(json_get_text(json_at(list, i), s->id_key), id))
			return true;
	return false;
}

static int put_section(struct vm_api *a, const struct section *s, const char *id,
		       const struct json *body, struct err *e)
{
	struct json *at = json_get(a->config, s->path);

	if (section_check(s, body, true, e) < 0)
		return -ERR_INVALID;
	if (!s->id_key) {
		json_set(a->config, s->path, json_copy(body));
		return 0;
	}
	if (!text_eq(json_get_text(body, s->id_key), id))
		return err_set(e, ERR_INVALID, "'%s' is not the id of the path, '%s'", s->id_key,
			       id);
	if (json_len(at) >= s->list_max && !has_id(at, s, id))
		return err_set(e, ERR_EXHAUSTED, "more than %zu of /%s", s->list_max, s->path);
	put_in_list(at, s, id, body);
	return 0;
}

static int on_put_section(struct call *c, struct err *e)
{
	const struct section *s = section_find(c->part[0]);

	assert(s);
	if (insist_not_started(c->api, e) < 0)
		return -ERR_CONFLICT;
	if (s->id_key && !*c->part[1])
		return err_set(e, ERR_INVALID, "/%s wants an id behind it", s->path);
	return put_section(c->api, s, c->part[1], c->body, e);
}

static int on_patch_machine(struct call *c, struct err *e)
{
	const struct section *s = section_find("machine-config");
	struct json *at = json_get(c->api->config, s->path);
	struct json_iter it = {0};
	const char *key;
	struct json *value;

	if (insist_not_started(c->api, e) < 0 || section_check(s, c->body, false, e) < 0)
		return -ERR_INVALID;
	while (json_next(c->body, &it, &key, &value))
		json_set(at, key, json_copy(value));
	return 0;
}

/* ---- questions ---- */

static int on_describe(struct call *c, struct err *e)
{
	static const char *const names[] = {"Not started", "Running", "Paused"};
	struct json *j = json_new_object();

	(void)e;
	json_set_text(j, "id", c->api->id);
	json_set_text(j, "state", names[c->api->ops->state(c->api->ctx)]);
	json_set_text(j, "vmm_version", VERSION);
	json_set_text(j, "app_name", "Hull");
	c->answer = j;
	return 0;
}

static int on_version(struct call *c, struct err *e)
{
	(void)e;
	c->answer = json_new_object();
	json_set_text(c->answer, "firecracker_version", LIKE_FIRECRACKER);
	json_set_text(c->answer, "hull_version", VERSION);
	return 0;
}

static int on_get_machine(struct call *c, struct err *e)
{
	(void)e;
	c->answer = json_copy(json_get(c->api->config, "machine-config"));
	return 0;
}

static int on_get_config(struct call *c, struct err *e)
{
	(void)e;
	c->answer = json_copy(c->api->config);
	return 0;
}

static int on_stats(struct call *c, struct err *e)
{
	(void)e;
	c->answer = c->api->ops->stats(c->api->ctx);
	return 0;
}

/* ---- actions ---- */

static int start(struct vm_api *a, struct err *e)
{
	if (insist_not_started(a, e) < 0)
		return -ERR_CONFLICT;
	if (!json_get(json_get(a->config, "boot-source"), "kernel_image_path"))
		return err_set(e, ERR_INVALID,
			       "the machine has no kernel: PUT /boot-source comes first");
	return a->ops->start(a->ctx, a->config, e);
}

static int insist_started(const struct vm_api *a, struct err *e)
{
	return is_started(a) ? 0 : err_set(e, ERR_CONFLICT, "the machine was not started yet");
}

static int on_action(struct call *c, struct err *e)
{
	const char *what = json_get_text(c->body, "action_type");
	struct vm_api *a = c->api;

	if (text_eq(what, "InstanceStart"))
		return start(a, e);
	if (text_eq(what, "FlushMetrics"))
		return insist_started(a, e);
	if (text_eq(what, "SendCtrlAltDel"))
		return insist_started(a, e) < 0 ? -ERR_CONFLICT : a->ops->ctrl_alt_del(a->ctx, e);
	return err_set(e, ERR_INVALID,
		       "unknown action_type '%s': InstanceStart, SendCtrlAltDel or FlushMetrics",
		       what ? what : "");
}

static int on_patch_vm(struct call *c, struct err *e)
{
	const char *wanted = json_get_text(c->body, "state");
	struct vm_api *a = c->api;

	if (insist_started(a, e) < 0)
		return -ERR_CONFLICT;
	if (text_eq(wanted, "Paused"))
		return a->ops->pause(a->ctx, e);
	if (text_eq(wanted, "Resumed"))
		return a->ops->resume(a->ctx, e);
	return err_set(e, ERR_INVALID, "unknown state '%s': Paused or Resumed",
		       wanted ? wanted : "");
}

/* ---- one call ---- */

static const struct {
	const char *method, *path;
	bool has_id, has_body;
	int (*fn)(struct call *c, struct err *e);
} routes[] = {
	{"GET", "", false, false, on_describe},
	{"GET", "version", false, false, on_version},
	{"GET", "vm/config", false, false, on_get_config},
	{"GET", "vm/stats", false, false, on_stats},
	{"GET", "machine-config", false, false, on_get_machine},
	{"PUT", "machine-config", false, true, on_put_section},
	{"PATCH", "machine-config", false, true, on_patch_machine},
	{"PUT", "boot-source", false, true, on_put_section},
	{"PUT", "drives", true, true, on_put_section},
	{"PUT", "network-interfaces", true, true, on_put_section},
	{"PUT", "vsock", false, true, on_put_section},
	{"PUT", "actions", false, true, on_action},
	{"PATCH", "vm", false, true, on_patch_vm},
};

/* "/drives/root" is the route "drives" with the id "root"; "/vm/config" is itself. */
static bool route_takes(size_t i, const char *method, const char *path, struct str *ret_id)
{
	size_t n = strlen(routes[i].path);

	*ret_id = STR("");
	if (!text_eq(routes[i].method, method))
		return false;
	if (text_eq(path, routes[i].path))
		return !routes[i].has_id;
	if (!routes[i].has_id || !text_starts(path, routes[i].path) || path[n] != '/')
		return false;
	*ret_id = str_of(path + n + 1);
	return ret_id->n > 0 && !memchr(ret_id->p, '/', ret_id->n);
}

static int run_call(struct call *c, const char *method, const char *path, struct str body,
		    struct err *e)
{
	for (size_t i = 0; i < array_len(routes); i++) {
		struct str id;

		if (*path != '/' || !route_takes(i, method, path + 1, &id))
			continue;
		c->part[0] = mem_dup_text(routes[i].path);
		c->part[1] = str_dup(id);
		if (routes[i].has_body && json_parse(body, "body", &c->body, e) < 0)
			return -ERR_INVALID;
		return routes[i].fn(c, e);
	}
	return err_set(e, ERR_NOT_FOUND, "there is no %s %s", method, path);
}

int vm_api_call(struct vm_api *a, const char *method, const char *path, struct str body,
		struct json **ret)
{
	struct call c = {.api = a};
	struct err e = {0};
	int r = run_call(&c, method, path, body, &e);

	assert(a->magic == VM_API_MAGIC);
	if (r < 0) {
		(void)json_free(c.answer);
		c.answer = json_new_object();
		json_set_text(c.answer, "fault_message", e.text);
	}
	for (size_t i = 0; i < PATH_PARTS_MAX; i++)
		free(c.part[i]);
	(void)json_free(c.body);
	*ret = c.answer;
	return r < 0 ? STATUS_WRONG : c.answer ? 200 : STATUS_DONE;
}

const struct json *vm_api_config(const struct vm_api *a)
{
	return a->config;
}

int vm_api_put(struct vm_api *a, const char *path, const struct json *body, struct err *e)
{
	struct str rest = str_of(path), head;
	auto_free char *name = NULL, *id = NULL;
	const struct section *s;

	(void)str_cut(&rest, '/', &head);
	name = str_dup(head);
	id = str_dup(rest.p ? rest : STR(""));
	s = section_find(name);
	assert(s);
	return put_section(a, s, id, body, e);
}

/* ---- HTTP ---- */

static void on_body(void *arg, struct http_request *r, struct str body, const struct err *e)
{
	struct vm_api *a = arg;
	auto_json struct json *answer = NULL;
	auto_strbuf struct strbuf text = {0};
	int status;

	(void)e;
	if (!r) /* too long, or its client left */
		return;
	status = vm_api_call(a, http_request_method(r), http_request_path(r), body, &answer);
	if (answer)
		json_write(answer, &text);
	http_reply(r, status, answer ? "application/json" : NULL, text.p, text.n);
}

static void on_request(void *arg, struct http_request *r)
{
	http_request_gather(r, VM_API_BODY_MAX, on_body, arg);
}

static struct json *empty_config(void)
{
	struct json *j = json_new_object();

	for (size_t i = 0; i < sections_n; i++)
		json_set(j, sections[i].path,
			 sections[i].list_max ? json_new_array() : json_new_object());
	json_set_i64(json_get(j, "machine-config"), "vcpu_count", 1);
	json_set_i64(json_get(j, "machine-config"), "mem_size_mib", 128);
	return j;
}

int vm_api_new(struct loop *loop, int fd, const char *id, const struct vm_api_ops *ops, void *ctx,
	       struct vm_api **ret, struct err *e)
{
	struct vm_api *a = mem_new(struct vm_api);
	int r;

	assert(ops && ops->start && ops->state);
	a->magic = VM_API_MAGIC;
	a->ops = ops;
	a->ctx = ctx;
	a->id = mem_dup_text(id);
	a->config = empty_config();
	if (fd < 0) { /* of tests: calls only */
		*ret = a;
		return 0;
	}
	r = http_server_new(loop, on_request, a, &a->server, e);
	if (r < 0)
		(void)close(fd);
	else
		r = http_server_listen(a->server, fd, e);
	if (r < 0) {
		(void)vm_api_free(a);
		return r;
	}
	*ret = a;
	return 0;
}

struct vm_api *vm_api_free(struct vm_api *a)
{
	if (!a)
		return NULL;
	assert(a->magic == VM_API_MAGIC);
	if (a->server)
		a->server = http_server_free(a->server);
	a->config = json_free(a->config);
	free(a->id);
	a->magic = 0;
	free(a);
	return NULL;
}
