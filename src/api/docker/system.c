/*
 * The node itself: ping, version, info, disk usage, events; and clear words for what is not here.
 */
#include "api/docker/docker_priv.h"
#include "ground/base/own.h"

void system_ping(struct call *c)
{
	http_reply_header(c->r, "Builder-Version", "1");
	http_reply_header(c->r, "Swarm", "inactive");
	http_reply_header(c->r, "Cache-Control", "no-cache, no-store, must-revalidate");
	http_reply_header(c->r, "Pragma", "no-cache");
	http_reply_text(c->r, 200, "text/plain; charset=utf-8", "OK");
	call_release(c);
}

void system_version(struct call *c)
{
	struct system_info *s = NULL;

	engine_info(c->user, &c->arena, &s);
	call_reply_json(c, 200, shape_version(s));
}

void system_info(struct call *c)
{
	struct system_info *s = NULL;

	engine_info(c->user, &c->arena, &s);
	call_reply_json(c, 200, shape_info(s));
}

static void measured(void *ctx, const struct disk_usage *d, const struct err *e)
{
	struct call *c = call_of(ctx);
	struct json *j, *images, *containers, *volumes;

	if (e) {
		call_reply_err(c, e);
		return;
	}
	j = json_new_object();
	images = json_new_array();
	containers = json_new_array();
	volumes = json_new_array();
	for (size_t i = 0; i < d->images_n; i++)
		json_append(images,
			    shape_image_row(c->minor, d->images[i], d->images[i]->containers));
	for (size_t i = 0; i < d->containers_n; i++)
		json_append(containers,
			    shape_container_row(d->containers[i].view, &d->containers[i].sizes, 0));
	for (size_t i = 0; i < d->volumes_n; i++)
		json_append(volumes, shape_volume(d->volumes[i]));
	json_set_i64(j, "LayersSize", d->layers_bytes);
	json_set_i64(j, "LogsSize", d->logs_bytes);
	json_set(j, "Images", images);
	json_set(j, "Containers", containers);
	json_set(j, "Volumes", volumes);
	json_set(j, "BuildCache", json_new_array());
	call_reply_json(c, 200, j);
}

void system_df(struct call *c)
{
	engine_disk_usage(c->user, measured, c);
}

static void event_came(void *ctx, const struct event *v)
{
	out_json(call_of(ctx), shape_event(v), "\n");
}

static void events_end(void *ctx, const struct err *e)
{
	struct call *c = call_of(ctx);

	c->stream = NULL;
	if (e)
		out_fail(c, e);
	else
		out_end(c);
}

void system_events(struct call *c)
{
	const struct event_sink sink = {event_came, events_end, c};
	struct event_options o = {0};
	struct err e = {0};

	if (param_filters(c, &o.filters) < 0 || param_time(c, "since", &o.since_ns) < 0 ||
	    param_time(c, "until", &o.until_ns) < 0)
		return;
	if (engine_events(c->user, &o, &sink, &c->stream, &e) < 0) {
		call_reply_err(c, &e);
		return;
	}
	out_watch(c);
	out_begin(c, TYPE_JSON);
}

void system_plugins(struct call *c)
{
	call_reply_json(c, 200, json_new_array());
}

/* There is no build cache: there is nothing to prune, and `docker system prune` goes on. */
void system_build_prune(struct call *c)
{
	struct json *j = json_new_object();

	json_set(j, "CachesDeleted", json_new_array());
	json_set_i64(j, "SpaceReclaimed", 0);
	call_reply_json(c, 200, j);
}

void system_no_swarm(struct call *c)
{
	call_reply_message(
		c, 503,
		"This node is not a swarm manager. Use \"docker swarm init\" or \"docker "
		"swarm join\" to connect this node to swarm and try again.");
}

void system_no_build(struct call *c)
{
	call_reply_message(c, 501,
			   "building images is not supported by this version of Hull: build "
			   "elsewhere, then pull, load or import the image");
}

void system_no_search(struct call *c)
{
	call_reply_message(c, 501,
			   "searching registries is not supported by Hull: search on the "
			   "registry's web page, then pull by name");
}

void system_no_session(struct call *c)
{
	call_reply_message(c, 404, "BuildKit sessions are not supported by Hull");
}
