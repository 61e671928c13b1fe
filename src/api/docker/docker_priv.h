/*
 * Inside api/docker: a call (one request on its way through a handler), the routes' type,
 * parameters, and the ways to answer. Prefixes: call_ (call.c), param_ (param.c), out_ (out.c,
 * replies that flow out of the engine), in_ (in.c, bodies that flow into it), shape_ (JSON), route_
 * (route.c).
 *
 * A call is released by the verb that answers it (call_reply*, call_end, call_release); after that
 * it must not be touched.
 */
#pragma once

#include "api/docker/docker.h"
#include "engine/engine.h"
#include "engine/events.h"
#include "engine/exec.h"
#include "engine/images.h"
#include "engine/networks.h"
#include "engine/stream.h"
#include "engine/system.h"
#include "engine/volumes.h"
#include "engine/workload.h"
#include "ground/base/arena.h"
#include "ground/base/mem.h"
#include "ground/format/json.h"
#include "ground/wire/http_server.h"

#define CALL_MAGIC	 0x4463616cu
#define CALL_BODY_MAX	 (16u << 20)
#define ROUTE_PARAMS_MAX 2
#define TYPE_JSON	 "application/json"
#define TYPE_TAR	 "application/x-tar"
#define TYPE_RAW	 "application/vnd.docker.raw-stream"
#define TYPE_MULTIPLEXED "application/vnd.docker.multiplexed-stream"

struct call;
typedef void call_fn(struct call *c);

enum route_body {
	BODY_NONE,  /* ignored */
	BODY_JSON,  /* read whole before the handler is called; may be absent */
	BODY_STREAM /* left to the handler */
};

/* "{}" in a pattern matches one segment, "{*}" one or more: image names hold slashes. */
struct route {
	const char *method, *pattern;
	call_fn *handle;
	enum route_body body;
};

extern const struct route routes[];
extern const size_t routes_n;

struct docker {
	struct loop *loop;
	struct engine *engine;
	struct http_server *server;
	struct http_client *client; /* for /auth; made when first needed */
};

struct call {
	unsigned magic;
	struct docker *docker;
	struct http_request *r;
	struct user *user;
	struct arena arena; /* lives as long as the call */
	const struct route *route;
	const char *params[ROUTE_PARAMS_MAX]; /* what stood at {} */
	unsigned minor;			      /* of the API version asked for */
	struct json *body;		      /* NULL: none */

	/* what runs for this call in the engine and is cancelled when the client leaves */
	struct stream *stream;
	struct feed *feed;
	struct waiter *waiter;
	struct image_job *job;
	bool begun;	   /* the reply's headers are out */
	struct json *held; /* the first word of a pull, until it is sure that there is a second */
	bool ended;	   /* the engine has said its last word */
	void *state;	   /* the handler's own, in the arena */
};

/* Route: finds the row for a path without version; *ret_params in the arena. */
const struct route *route_find(const struct route *table, size_t n, const char *method,
			       const char *path, struct arena *a,
			       const char *ret_params[ROUTE_PARAMS_MAX]);
/* Cuts "/v1.41" off *path. 0, or -ERR_INVALID with Docker's words when it is outside our range. */
int route_version(const char **path, unsigned *ret_minor, struct err *e) must_use;

/* Call. */
struct call *call_of(void *p);
const char *call_query(const struct call *c, const char *name);	  /* NULL: absent */
void call_reply(struct call *c, int status);			  /* no body */
void call_reply_json(struct call *c, int status, struct json *j); /* consumes j */
void call_reply_err(struct call *c, const struct err *e);
void call_reply_message(struct call *c, int status, const char *text);
void call_release(struct call *c); /* the request is finished already */
/* Ends: 204, or the error. Fits engine_done. */
void call_done(void *ctx, const struct err *e);
/* Ends: 204, 304, or the error. Fits engine_changed. */
void call_changed(void *ctx, bool unchanged, const struct err *e);

/* Parameters. Flags are Docker's: absent, "", "0", "no", "false", "none" are false. */
bool param_flag(const struct call *c, const char *name, bool otherwise);
/* 0 and *ret, or -1 after the call was answered with 400. Absent: otherwise. */
int param_int(struct call *c, const char *name, int64_t otherwise, int64_t *ret) must_use;
int param_time(struct call *c, const char *name, int64_t *ret_ns) must_use; /* absent: 0 */
int param_filters(struct call *c, struct filters *ret) must_use;
char *const *param_list(struct call *c, const char *name); /* repeated; NULL-terminated */
/* "1136073600.5", RFC 3339 */
int param_parse_time(struct str text, int64_t *ret_ns, struct err *e) must_use;
/* X-Registry-Auth; what cannot be read is ignored. */
struct registry_auth param_auth(struct call *c);
/* "name", "name:tag" or "name@digest" out of a name and a tag that may be NULL or "". */
char *param_reference(struct call *c, const char *name, const char *tag);

/* Replies that flow out. All of them end the call; the client leaving cancels what runs. */
struct sink out_sink(struct call *c, const char *content_type); /* begins with its first byte */
void out_begin(struct call *c, const char *content_type);	/* now */
size_t out_push(struct call *c, const void *p, size_t n);
void out_json(struct call *c, struct json *j, const char *line_end); /* consumes j */
void out_end(struct call *c);
void out_fail(struct call *c,
	      const struct err *e); /* a status if nothing was sent, else in the stream */
void out_watch(struct call *c);	    /* the client leaving cancels the call's work */
void out_progress(void *ctx, const struct progress *p); /* fits engine_progress */
/* The same for pull: what fails at once fails with a status of its own. */
void out_pull_progress(void *ctx, const struct progress *p);
void out_progress_done(void *ctx, const struct err *e); /* fits engine_done */

/* Bodies that flow in: everything goes into the feed, which is in c->feed. */
void in_start(struct call *c, struct feed *f);
void in_end(struct call *c); /* first thing in the operation's own callback */

/* JSON. Trees are new; NULL lists become null where Docker says null. */
/* As docker logs -t writes it: padded to nine digits, a space behind. */
void shape_log_time(struct strbuf *out, int64_t ns);
void shape_duration(struct strbuf *out, int64_t ns);	 /* "About a minute" */
struct json *shape_texts(char *const *list);		 /* NULL: [] */
struct json *shape_pairs(const struct json_pair *pairs); /* NULL: {} */
struct json *shape_container(const struct call *c, const struct container_view *v,
			     const struct container_sizes *s);
struct json *shape_container_row(const struct container_view *v, const struct container_sizes *s,
				 int64_t now_ns);
void shape_status(struct strbuf *out, const struct container_view *v, int64_t now_ns);
struct json *shape_config(const struct container_config *config);
struct json *shape_ports(const struct container_view *v);
struct json *shape_endpoint(const struct endpoint_view *v);
struct json *shape_mounts(const struct container_view *v);
struct json *shape_stats(const struct container_stats *s);
struct json *shape_image(const struct call *c, const struct image_view *v);
struct json *shape_image_row(unsigned minor, const struct image_view *v, int containers);
struct json *shape_history(const struct image_history *h, size_t n);
struct json *shape_network(const struct network_view *v, bool members);
struct json *shape_volume(const struct volume_view *v);
struct json *shape_event(const struct event *v);
struct json *shape_info(const struct system_info *s);
struct json *shape_version(const struct system_info *s);

/* Handlers, by noun; the table in routes.c names their routes. */
call_fn containers_list, containers_create, containers_inspect, containers_start, containers_stop,
	containers_restart, containers_kill, containers_pause, containers_unpause,
	containers_rename, containers_update, containers_remove, containers_prune,
	containers_resize;
call_fn containers_wait, containers_attach, containers_logs, containers_stats, containers_top,
	containers_changes;
call_fn archive_head, archive_get, archive_put, archive_export;
call_fn exec_create, exec_start, exec_resize, exec_inspect;
call_fn images_list, images_inspect, images_history, images_tag, images_remove, images_prune;
call_fn images_create, images_push, images_get, images_get_many, images_load, images_commit;
call_fn networks_list, networks_inspect, networks_create, networks_remove, networks_connect,
	networks_disconnect, networks_prune;
call_fn volumes_list, volumes_inspect, volumes_create, volumes_remove, volumes_prune;
call_fn system_ping, system_version, system_info, system_df, system_events, system_auth;
call_fn system_plugins, system_build_prune, system_no_swarm, system_no_build, system_no_search,
	system_no_session;
