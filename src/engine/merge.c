/*
 * What the image says and what the client says become one config: the client wins, lists of names
 * are joined, and the command follows Docker's rule (an entrypoint given anew drops the image's
 * command).
 */
#include "engine/engine_priv.h"

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static size_t key_length(const char *variable)
{
	const char *equals = strchr(variable, '=');

	return equals ? (size_t)(equals - variable) : strlen(variable);
}

static bool same_key(const char *a, const char *b)
{
	size_t n = key_length(a);

	return n == key_length(b) && !memcmp(a, b, n);
}

static bool names_key(char *const *list, const char *variable)
{
	for (; list && *list; list++)
		if (same_key(*list, variable))
			return true;
	return false;
}

static void merge_env(struct container_config *c, char *const *image, struct arena *a)
{
	size_t n = mem_count_texts(image) + mem_count_texts(c->env), used = 0;
	char **env = arena_new_array(a, char *, n + 2);

	if (!names_key(image, DEFAULT_PATH) && !names_key(c->env, DEFAULT_PATH))
		env[used++] = arena_dup_text(a, DEFAULT_PATH);
	for (; image && *image; image++)
		if (!names_key(c->env, *image))
			env[used++] = arena_dup_text(a, *image);
	for (char *const *own = c->env; own && *own; own++)
		if (strchr(*own, '='))
			env[used++] = *own;
	c->env = env;
}

static char **copy_texts(char *const *list, struct arena *a)
{
	size_t n = mem_count_texts(list);
	char **copy = arena_new_array(a, char *, n + 1);

	for (size_t i = 0; i < n; i++)
		copy[i] = arena_dup_text(a, list[i]);
	return copy;
}

static void merge_command(struct container_config *c, const struct image *image, struct arena *a)
{
	bool reset = c->entrypoint && c->entrypoint[0] && !*c->entrypoint[0] && !c->entrypoint[1];

	if (reset) {
		c->entrypoint = NULL;
		return;
	}
	if (c->entrypoint && c->entrypoint[0])
		return;
	if ((!c->cmd || !c->cmd[0]) && image->cmd)
		c->cmd = copy_texts(image->cmd, a);
	if (!c->entrypoint && image->entrypoint)
		c->entrypoint = copy_texts(image->entrypoint, a);
}

static void merge_labels(struct container_config *c, const struct json_pair *image, struct arena *a)
{
	size_t n = 0, used = 0;
	struct json_pair *all;

	for (const struct json_pair *p = image; p && p->key; p++)
		n++;
	for (const struct json_pair *p = c->labels; p && p->key; p++)
		n++;
	all = arena_new_array(a, struct json_pair, n + 1);
	for (const struct json_pair *p = image; p && p->key; p++) {
		bool overridden = false;

		for (const struct json_pair *own = c->labels; own && own->key; own++)
			overridden = overridden || text_eq(own->key, p->key);
		if (!overridden)
			all[used++] = (struct json_pair){arena_dup_text(a, p->key),
							 arena_dup_text(a, p->value)};
	}
	for (const struct json_pair *p = c->labels; p && p->key; p++)
		all[used++] = *p;
	c->labels = all;
}

/* {"80/tcp": {}}: the client's tree is its own, ours is new and kept by the container. */
static struct json *union_of(const struct json *own, const struct image *image, bool ports)
{
	struct json *all = json_kind(own) == JSON_OBJECT ? json_copy(own) : json_new_object();

	for (size_t i = 0; ports && i < image->ports_n; i++) {
		auto_free char *key =
			mem_printf("%u/%s", image->ports[i].port, image->ports[i].protocol);

		if (!json_get(all, key))
			json_set(all, key, json_new_object());
	}
	for (char **v = image->volumes; !ports && v && *v; v++)
		if (!json_get(all, *v))
			json_set(all, *v, json_new_object());
	if (json_len(all) == 0)
		return json_free(all);
	return all;
}

static void merge_health(struct container_config *c, const struct image_health *image,
			 struct arena *a)
{
	struct health_check *h = c->health_check;

	if (!image->test)
		return;
	if (!h)
		h = c->health_check = arena_new(a, struct health_check);
	if (!h->test || !h->test[0])
		h->test = copy_texts(image->test, a);
	h->interval_ns = h->interval_ns ? h->interval_ns : image->interval_ns;
	h->timeout_ns = h->timeout_ns ? h->timeout_ns : image->timeout_ns;
	h->start_period_ns = h->start_period_ns ? h->start_period_ns : image->start_period_ns;
	h->start_interval_ns =
		h->start_interval_ns ? h->start_interval_ns : image->start_interval_ns;
	h->retries = h->retries ? h->retries : (int32_t)image->retries;
}

static char *or_image(char *own, const char *image, struct arena *a)
{
	return own && *own ? own : arena_dup_text(a, image);
}

void request_merge(struct workload *w, const struct image *image)
{
	struct container_config *c = &w->request.config;
	struct arena *a = &w->arena;

	merge_command(c, image, a);
	merge_env(c, image->env, a);
	merge_labels(c, image->labels, a);
	merge_health(c, &image->health, a);
	c->user = or_image(c->user, image->user, a);
	c->working_dir = or_image(c->working_dir, image->workdir, a);
	c->stop_signal = or_image(c->stop_signal, image->stop_signal, a);
	if (!c->shell && image->shell)
		c->shell = copy_texts(image->shell, a);
	workload_keep_json(w);
	c->exposed_ports = union_of(w->borrowed[0], image, true);
	(void)json_free(w->borrowed[0]);
	w->borrowed[0] = c->exposed_ports;
	c->volumes = union_of(w->borrowed[1], image, false);
	(void)json_free(w->borrowed[1]);
	w->borrowed[1] = c->volumes;
	if (!c->hostname || !*c->hostname)
		c->hostname = arena_dup(a, (struct str){w->id, 12});
}
