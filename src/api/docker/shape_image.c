/*
 * Images as JSON.
 */
#include <string.h>

#include "api/docker/docker_priv.h"
#include "ground/base/rfc3339.h"

#define NS_OF_A_SECOND 1000000000LL

/* Before 1.43 an image without a name has a name that says so. */
static struct json *names(char *const *list, unsigned minor, const char *none)
{
	struct json *j;

	if (list[0] || minor >= 43)
		return shape_texts(list);
	j = json_new_array();
	json_append(j, json_new_text(none));
	return j;
}

struct json *shape_image_row(unsigned minor, const struct image_view *v, int containers)
{
	struct json *j = json_new_object();
	const struct json_pair *labels = v->config ? v->config->labels : NULL;

	json_set_text(j, "Id", v->id);
	json_set_text(j, "ParentId", v->parent ? v->parent : "");
	json_set(j, "RepoTags", names(v->tags, minor, "<none>:<none>"));
	json_set(j, "RepoDigests", names(v->digests, minor, "<none>@<none>"));
	json_set_i64(j, "Created", v->created_ns / NS_OF_A_SECOND);
	json_set_i64(j, "Size", v->size_bytes);
	json_set_i64(j, "SharedSize", -1);
	if (minor < 44)
		json_set_i64(j, "VirtualSize", v->size_bytes);
	json_set(j, "Labels", labels && labels->key ? shape_pairs(labels) : NULL);
	json_set_i64(j, "Containers", containers);
	return j;
}

static struct json *root_json(const struct image_view *v)
{
	struct json *j = json_new_object();

	json_set_text(j, "Type", "layers");
	json_set(j, "Layers", shape_texts(v->layers));
	return j;
}

static void set_graph(struct json *j)
{
	struct json *graph = json_new_object();

	json_set(graph, "Data", json_new_object());
	json_set_text(graph, "Name", "overlay2");
	json_set(j, "GraphDriver", graph);
}

struct json *shape_image(const struct call *c, const struct image_view *v)
{
	struct json *j = json_new_object();
	struct json *metadata = json_new_object();
	char time[RFC3339_CHARS + 1];

	json_set_text(j, "Id", v->id);
	json_set(j, "RepoTags", shape_texts(v->tags));
	json_set(j, "RepoDigests", shape_texts(v->digests));
	json_set_text(j, "Parent", v->parent ? v->parent : "");
	json_set_text(j, "Comment", v->comment ? v->comment : "");
	json_set_text(j, "Created", rfc3339_text(v->created_ns, time));
	json_set_text(j, "DockerVersion", "");
	json_set_text(j, "Author", v->author ? v->author : "");
	json_set(j, "Config", v->config ? shape_config(v->config) : NULL);
	json_set_text(j, "Architecture", v->architecture ? v->architecture : "");
	if (v->variant && v->variant[0])
		json_set_text(j, "Variant", v->variant);
	json_set_text(j, "Os", v->os ? v->os : "linux");
	json_set_i64(j, "Size", v->size_bytes);
	if (c->minor < 44)
		json_set_i64(j, "VirtualSize", v->size_bytes);
	set_graph(j);
	json_set(j, "RootFS", root_json(v));
	json_set_text(metadata, "LastTagTime", rfc3339_text(v->last_tagged_ns, time));
	json_set(j, "Metadata", metadata);
	return j;
}

struct json *shape_history(const struct image_history *h, size_t n)
{
	struct json *rows = json_new_array();

	for (size_t i = 0; i < n; i++) {
		struct json *row = json_new_object();

		json_set_text(row, "Id", h[i].id);
		json_set_i64(row, "Created", h[i].created_ns / NS_OF_A_SECOND);
		json_set_text(row, "CreatedBy", h[i].created_by ? h[i].created_by : "");
		json_set(row, "Tags", h[i].tags && h[i].tags[0] ? json_new_texts(h[i].tags) : NULL);
		json_set_i64(row, "Size", h[i].size_bytes);
		json_set_text(row, "Comment", h[i].comment ? h[i].comment : "");
		json_append(rows, row);
	}
	return rows;
}
