/*
 * Rules for storage: volumes of pods and where they are mounted, persistent volumes and claims.
 */
#include <assert.h>
#include <string.h>

#include "cluster/objects/validate_priv.h"
#include "ground/base/mem.h"
#include "ground/format/quantity.h"

#define MODE_MAX 0777

static bool has_dots(const char *path)
{
	struct str rest = str_of(path), part;

	while (str_cut(&rest, '/', &part))
		if (str_is(part, ".."))
			return true;
	return false;
}

static const char *wrong_dots(const char *path)
{
	return has_dots(path) ? "must not contain '..'" : NULL;
}

static const char *wrong_below(const char *path)
{
	if (path[0] == '/')
		return "must be a relative path";
	return wrong_dots(path);
}

static void check_mode(struct check *c, const struct json *object, const char *key)
{
	const struct json *mode = json_get(object, key);

	if (mode && (json_i64(mode, 0) < 0 || json_i64(mode, 0) > MODE_MAX))
		check_add(c, CAUSE_INVALID, key, mode,
			  "must be a number between 0 and 0777 (octal), both inclusive");
}

/* How many members an object has, one of them not counted; each that is too many is noted. */
static size_t sources_of(struct check *c, const struct json *object, const char *not_this)
{
	struct json_iter it = {0};
	struct json *value;
	const char *key;
	size_t n = 0;

	while (json_next(object, &it, &key, &value))
		if (!text_eq(key, not_this) && n++ > 0)
			check_add(c, CAUSE_FORBIDDEN, key, NULL,
				  "may not specify more than 1 volume type");
	return n;
}

void check_volume(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	check_name(c, object, "name", name_wrong_label);
	(void)sources_of(c, object, "name");
}

void check_mount(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	check_name(c, object, "subPath", wrong_below);
	check_name(c, object, "subPathExpr", wrong_below);
	if (json_get(object, "subPath") && json_get(object, "subPathExpr"))
		check_add(c, CAUSE_INVALID, "subPathExpr", json_get(object, "subPathExpr"),
			  "subPathExpr and subPath are mutually exclusive");
}

void check_host_path(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	check_name(c, object, "path", wrong_dots);
}

void check_empty_dir(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *most = json_get(object, "sizeLimit");
	struct quantity q = {0};

	(void)old;
	if (most && quantity_parse(json_str(most), &q, NULL) == 0 && q.nano < 0)
		check_add(c, CAUSE_FORBIDDEN, "sizeLimit", NULL,
			  "SizeLimit field must be a valid resource quantity");
}

/* Files out of a secret, a config map, or both together with others. */
void check_files(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	check_mode(c, object, "defaultMode");
}

void check_secret_files(struct check *c, const struct json *object, const struct json *old)
{
	check_files(c, object, old);
	if (!json_get(object, "secretName"))
		check_add(c, CAUSE_REQUIRED, "secretName", NULL, "%s", "");
}

void check_config_files(struct check *c, const struct json *object, const struct json *old)
{
	check_files(c, object, old);
	if (!json_get(object, "name"))
		check_add(c, CAUSE_REQUIRED, "name", NULL, "%s", "");
}

void check_projection(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	if (json_len(object) == 0)
		check_add(c, CAUSE_REQUIRED, "", NULL,
			  "one of secret, configMap, downwardAPI or serviceAccountToken");
	(void)sources_of(c, object, "");
}

void check_key_path(struct check *c, const struct json *object, const struct json *old)
{
	(void)old;
	check_name(c, object, "path", wrong_below);
	check_mode(c, object, "mode");
}

void check_downward(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const known[] = {"metadata.annotations", "metadata.labels",
					    "metadata.name",	    "metadata.namespace",
					    "metadata.uid",	    NULL};

	(void)old;
	check_name(c, object, "path", wrong_below);
	check_mode(c, object, "mode");
	check_field_ref(c, json_get(object, "fieldRef"), "fieldRef.fieldPath", known);
	if (!json_get(object, "fieldRef") == !json_get(object, "resourceFieldRef"))
		check_add(c, json_get(object, "fieldRef") ? CAUSE_INVALID : CAUSE_REQUIRED, "",
			  object, "one of fieldRef and resourceFieldRef is required");
}

/* -- claims and volumes ------------------------------------------------------------------------ */

static void check_size(struct check *c, const struct json *map, const char *below)
{
	const struct json *size = json_get(map, "storage");
	struct quantity q = {0};

	if (!size)
		check_add(c, CAUSE_REQUIRED, below, NULL, "%s", "");
	else if (quantity_parse(json_str(size), &q, NULL) < 0 || q.nano <= 0)
		check_add(c, CAUSE_INVALID, below, size, "must be greater than zero");
}

/* What was asked for stays, but for the amount. */
static void check_claim_kept(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const kept[] = {"accessModes", "selector", "volumeMode", "dataSource",
					   "dataSourceRef"};

	for (size_t i = 0; i < array_len(kept); i++) {
		if (json_equal(json_get(old, kept[i]), json_get(object, kept[i])))
			continue;
		check_add(c, CAUSE_FORBIDDEN, "", NULL,
			  "spec is immutable after creation except resources.requests and "
			  "volumeAttributesClassName for bound claims");
		return;
	}
}

void check_claim(struct check *c, const struct json *object, const struct json *old)
{
	const struct json *requests = json_get(json_get(object, "resources"), "requests");
	const struct json *was = json_get(json_get(old, "resources"), "requests");
	struct quantity now = {0}, before = {0};

	if (json_len(json_get(object, "accessModes")) == 0)
		check_add(c, CAUSE_REQUIRED, "accessModes", NULL,
			  "at least 1 access mode is required");
	check_size(c, requests, "resources[storage]");
	if (old)
		check_claim_kept(c, object, old);
	if (was && quantity_parse(json_str(json_get(requests, "storage")), &now, NULL) == 0 &&
	    quantity_parse(json_str(json_get(was, "storage")), &before, NULL) == 0 &&
	    now.nano < before.nano)
		check_add(c, CAUSE_FORBIDDEN, "resources.requests.storage", NULL,
			  "field can not be less than status.capacity");
}

void check_persistent(struct check *c, const struct json *object, const struct json *old)
{
	static const char *const plain[] = {"capacity",
					    "accessModes",
					    "claimRef",
					    "persistentVolumeReclaimPolicy",
					    "storageClassName",
					    "mountOptions",
					    "volumeMode",
					    "nodeAffinity",
					    "volumeAttributesClassName",
					    NULL};
	struct json_iter it = {0};
	struct json *value;
	const char *key;
	size_t n = 0;

	(void)old;
	while (json_next(object, &it, &key, &value))
		if (!text_in(key, (char *const *)plain) && n++ > 0)
			check_add(c, CAUSE_FORBIDDEN, key, NULL,
				  "may not specify more than 1 volume type");
	if (n == 0)
		check_add(c, CAUSE_REQUIRED, "", NULL, "must specify a volume type");
	if (json_get(object, "capacity"))
		check_size(c, json_get(object, "capacity"), "capacity[storage]");
}
