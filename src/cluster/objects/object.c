/*
 * Objects: see object.h. One that is stored is the index of its key_value and lives with it; one
 * that was deleted, or came from elsewhere, counts its own references. Texts lie behind the struct
 * in one piece of memory.
 */
#include "cluster/objects/object.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/objects/object_priv.h"
#include "ground/base/list.h"
#include "ground/base/mem.h"
#include "ground/base/parse.h"

/* Objects whose trees are kept, the one that was walked last at the end: one loop, one list. */
static struct list kept = {&kept, &kept};
static size_t kept_n;
static bool by_turns; /* somebody calls objects_trim() at the end of each turn */

static struct object_full *full(const struct object *o)
{
	struct object_full *f = container_of(o, struct object_full, o);

	assert(o->magic == OBJECT_MAGIC);
	return f;
}

const struct object *object_ref(const struct object *o)
{
	struct object_full *f = full(o);

	if (f->value)
		(void)key_value_ref(f->value);
	else
		(void)__atomic_add_fetch(&f->refs, 1, __ATOMIC_RELAXED);
	return o;
}

static void forget_tree(struct object_full *f)
{
	if (!f->tree)
		return;
	list_remove(&f->kept);
	kept_n--;
	f->tree = json_free(f->tree);
}

static void object_end(struct object_full *f)
{
	forget_tree(f);
	(void)object_unref(f->under);
	f->o.magic = 0;
	free(f->own_bytes);
	free(f);
}

const struct object *object_unref(const struct object *o)
{
	struct object_full *f;

	if (!o)
		return NULL;
	f = full(o);
	if (f->value)
		(void)key_value_unref(f->value);
	else if (__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) == 0)
		object_end(f);
	return NULL;
}

void objects_index_free(void *index)
{
	if (index)
		object_end(index);
}

/* -- what is known without a tree -------------------------------------------------------------- */

/* A growing piece of memory whose texts are known by their offsets until it is complete. */
struct texts {
	struct strbuf bytes;
};

static size_t put(struct texts *t, const char *text)
{
	size_t at = t->bytes.n;

	strbuf_add(&t->bytes, text ? text : "", text ? strlen(text) + 1 : 1);
	return at;
}

static size_t put_labels(struct texts *t, const struct json *labels)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;
	size_t at = t->bytes.n;

	while (json_next(labels, &it, &key, &value)) {
		(void)put(t, key);
		(void)put(t, json_text(value));
	}
	(void)put(t, "");
	(void)put(t, "");
	return at;
}

static const struct json *walk(const struct json *tree, const char *path)
{
	struct str rest = str_of(path), head;
	char key[64];

	while (tree && str_cut(&rest, '.', &head)) {
		if (head.n >= sizeof(key))
			return NULL;
		memcpy(key, head.p, head.n);
		key[head.n] = '\0';
		tree = json_get(tree, key);
	}
	return tree;
}

static size_t put_value(struct texts *t, const struct json *tree, const char *path)
{
	const struct json *v = walk(tree, path);
	char number[24];

	switch (json_kind(v)) {
	case JSON_STRING:
		return put(t, json_text(v));
	case JSON_BOOL:
		return put(t, json_flag(v, false) ? "true" : "false");
	case JSON_NUMBER:
		(void)snprintf(number, sizeof(number), "%lld", (long long)json_i64(v, 0));
		return put(t, number);
	case JSON_NULL:
	case JSON_ARRAY:
	case JSON_OBJECT:
		break;
	}
	return put(t, "");
}

static const struct json *controller_of(const struct json *meta)
{
	const struct json *owners = json_get(meta, "ownerReferences");

	for (size_t i = 0; i < json_len(owners); i++)
		if (json_get_bool(json_at(owners, i), "controller", false))
			return json_at(owners, i);
	return NULL;
}

static size_t count_values(const struct kind *k)
{
	size_t n = 0;

	while (k->selectable && k->selectable[n])
		n++;
	assert(n <= OBJECT_VALUES_MAX);
	return n;
}

struct object_full *object_make(const struct kind *k, const struct json *tree)
{
	const struct json *meta = json_get(tree, "metadata"), *owner = controller_of(meta);
	struct texts t = {0};
	size_t n = count_values(k), at[6], labels, values[OBJECT_VALUES_MAX];
	struct object_full *f;
	const char **list;
	char *text;

	at[0] = put(&t, json_get_text(meta, "namespace"));
	at[1] = put(&t, json_get_text(meta, "name"));
	at[2] = put(&t, json_get_text(meta, "uid"));
	at[3] = put(&t, json_get_text(owner, "uid"));
	at[4] = put(&t, json_get_text(owner, "kind"));
	at[5] = put(&t, json_get_text(owner, "name"));
	labels = put_labels(&t, json_get(meta, "labels"));
	for (size_t i = 0; i < n; i++)
		values[i] = put_value(&t, tree, k->selectable[i]);
	f = mem_new_bytes(1, sizeof(*f) + n * sizeof(char *) + t.bytes.n);
	list = (const char **)(void *)(f + 1);
	text = (char *)(list + n);
	memcpy(text, t.bytes.p, t.bytes.n);
	for (size_t i = 0; i < n; i++)
		list[i] = text + values[i];
	f->o = (struct object){.magic = OBJECT_MAGIC,
			       .kind = k,
			       .namespace = text + at[0],
			       .name = text + at[1],
			       .uid = text + at[2],
			       .owner_uid = text + at[3],
			       .owner_kind = text + at[4],
			       .owner_name = text + at[5],
			       .deleting = json_get_text(meta, "deletionTimestamp") != NULL,
			       .labels = text + labels,
			       .values = list};
	strbuf_done(&t.bytes);
	return f;
}

/* -- bytes ------------------------------------------------------------------------------------- */

static const char meta_begins[] = "\"metadata\":{";

void object_store_bytes(const struct kind *k, const struct json *tree, struct strbuf *out)
{
	auto_json struct json *meta = json_new_object();
	char api[128];
	struct json_iter it = {0};
	struct json *value;
	const char *key;

	strbuf_printf(out, "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":", k->name,
		      kind_api(k, api, sizeof(api)));
	while (json_next(json_get(tree, "metadata"), &it, &key, &value))
		if (!text_eq(key, "resourceVersion"))
			json_set(meta, key, json_ref(value));
	json_write(meta, out);
	it = (struct json_iter){0};
	while (json_next(tree, &it, &key, &value)) {
		if (text_eq(key, "kind") || text_eq(key, "apiVersion") || text_eq(key, "metadata"))
			continue;
		strbuf_printf(out, ",\"%s\":", key);
		json_write(value, out);
	}
	strbuf_add_char(out, '}');
}

void object_write(const struct object *o, struct strbuf *out)
{
	const char *at = memmem(o->bytes.p, o->bytes.n, meta_begins, sizeof(meta_begins) - 1);
	size_t head;

	assert(at);
	head = (size_t)(at - o->bytes.p) + sizeof(meta_begins) - 1;
	strbuf_add(out, o->bytes.p, head);
	if (o->revision)
		strbuf_printf(out, "\"resourceVersion\":\"%llu\"%s",
			      (unsigned long long)o->revision, o->bytes.p[head] == '}' ? "" : ",");
	strbuf_add(out, o->bytes.p + head, o->bytes.n - head);
}

/* -- trees ------------------------------------------------------------------------------------- */

static struct json *parse(const struct object *o)
{
	struct json *tree = NULL;
	char number[24];
	struct err e;

	if (json_parse(o->bytes, o->name, &tree, &e) < 0)
		return json_new_object(); /* only what was written by us gets here */
	(void)snprintf(number, sizeof(number), "%llu", (unsigned long long)o->revision);
	if (o->revision)
		json_set_text(json_get(tree, "metadata"), "resourceVersion", number);
	return tree;
}

const struct json *object_tree(const struct object *o)
{
	struct object_full *f = full(o);

	if (f->tree) {
		list_remove(&f->kept);
	} else {
		f->tree = parse(o);
		kept_n++;
	}
	list_append(&kept, &f->kept);
	if (kept_n > (by_turns ? OBJECT_TREES_MOST : OBJECT_TREES_KEPT))
		forget_tree(container_of(kept.next, struct object_full, kept));
	return f->tree;
}

void objects_trim(void *arg)
{
	(void)arg;
	by_turns = true;
	while (kept_n > OBJECT_TREES_KEPT)
		forget_tree(container_of(kept.next, struct object_full, kept));
}

struct json *object_copy(const struct object *o)
{
	return parse(o);
}

/* -- questions --------------------------------------------------------------------------------- */

const char *object_label(const struct object *o, const char *key)
{
	const char *p = o->labels;

	while (*p) {
		const char *value = p + strlen(p) + 1;

		if (text_eq(p, key))
			return value;
		p = value + strlen(value) + 1;
	}
	return NULL;
}

bool object_selected(const struct object *o, const struct selector *labels)
{
	for (size_t i = 0; labels && i < labels->n; i++)
		if (!selector_holds(&labels->list[i], object_label(o, labels->list[i].key)))
			return false;
	return true;
}

/* An event has two forms; fields are asked for in the words of either. */
static const char *const event_paths[][2] = {
	{"regarding.kind", "involvedObject.kind"},
	{"regarding.namespace", "involvedObject.namespace"},
	{"regarding.name", "involvedObject.name"},
	{"regarding.uid", "involvedObject.uid"},
	{"regarding.apiVersion", "involvedObject.apiVersion"},
	{"regarding.resourceVersion", "involvedObject.resourceVersion"},
	{"regarding.fieldPath", "involvedObject.fieldPath"},
	{"reportingController", "reportingComponent"},
};

const char *object_value(const struct object *o, const char *path)
{
	if (text_eq(path, "metadata.name"))
		return o->name;
	if (text_eq(path, "metadata.namespace"))
		return o->namespace;
	for (size_t i = 0; i < array_len(event_paths); i++)
		if (text_eq(path, event_paths[i][0]))
			path = event_paths[i][1];
	for (size_t i = 0; o->kind->selectable && o->kind->selectable[i]; i++)
		if (text_eq(o->kind->selectable[i], path))
			return o->values[i];
	return "";
}

bool object_selected_fields(const struct object *o, const struct selector *fields)
{
	for (size_t i = 0; fields && i < fields->n; i++)
		if (!selector_holds(&fields->list[i], object_value(o, fields->list[i].key)))
			return false;
	return true;
}

char *object_key(const struct object *o, char ret[OBJECT_KEY_MAX])
{
	(void)snprintf(ret, OBJECT_KEY_MAX, "%s%s%s", o->namespace, o->namespace[0] ? "/" : "",
		       o->name);
	return ret;
}

/* -- making ------------------------------------------------------------------------------------ */

const struct json *podspec_container(const struct json *spec, const char *name)
{
	static const char *const lists[] = {"containers", "initContainers", "ephemeralContainers"};
	const struct json *found = NULL;

	for (size_t i = 0; i < array_len(lists) && !found; i++)
		found = json_find(json_get(spec, lists[i]), "name", name);
	return found;
}

char name_letter(unsigned char byte)
{
	static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";

	return letters[byte % (sizeof(letters) - 1)];
}

const struct object *object_of_tree(const struct kind *k, const struct json *tree)
{
	struct object_full *f = object_make(k, tree);
	const char *revision = json_get_text(json_get(tree, "metadata"), "resourceVersion");
	auto_strbuf struct strbuf bytes = {0};
	struct err e;

	object_store_bytes(k, tree, &bytes);
	if (revision && parse_u64(str_of(revision), "resourceVersion", &f->o.revision, &e) < 0)
		f->o.revision = 0;
	f->o.bytes.n = bytes.n;
	f->own_bytes = strbuf_take(&bytes);
	f->o.bytes.p = f->own_bytes;
	f->refs = 1;
	return &f->o;
}

const struct object *object_at_revision(const struct object *o, uint64_t revision)
{
	struct object_full *f = mem_new(struct object_full);

	f->o = *o;
	f->o.revision = revision;
	f->under = object_ref(o);
	f->refs = 1;
	return &f->o;
}

struct key_value *object_to_store(const struct kind *k, const struct json *tree, const char *key,
				  int64_t expires_ns)
{
	auto_strbuf struct strbuf bytes = {0};
	struct object_full *f = object_make(k, tree);
	struct key_value *v;

	object_store_bytes(k, tree, &bytes);
	v = key_value_new(key, strbuf_str(&bytes), NULL, expires_ns);
	f->value = v;
	f->o.bytes = v->bytes;
	v->index = f;
	v->index_free = objects_index_free;
	return v;
}

const struct object *object_of_value(const struct key_value *v)
{
	struct object_full *f;

	if (!v || !v->index)
		return NULL; /* a kind of a newer release */
	f = v->index;
	assert(f->o.magic == OBJECT_MAGIC && f->value == v);
	f->o.revision = v->modified;
	return &f->o;
}

void *objects_index(void *ctx, const struct key_value *v)
{
	auto_json struct json *tree = NULL;
	const struct kind *k;
	struct object_full *f;
	struct err e;

	(void)ctx;
	if (json_parse(v->bytes, v->key, &tree, &e) < 0)
		return NULL;
	k = kind_of_api(json_get_text(tree, "apiVersion"), json_get_text(tree, "kind"));
	if (!k)
		return NULL; /* a kind that this release does not know: kept, not shown */
	f = object_make(k, tree);
	f->value = v;
	f->o.bytes = v->bytes;
	return f;
}
