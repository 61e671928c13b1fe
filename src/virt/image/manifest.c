/*
 * Manifests and indexes. The shape tables say which keys are read; what follows them are the checks
 * that a shape cannot say: digests, sizes, media types, and that a document is one thing only.
 */
#include "virt/image/manifest.h"

#include <assert.h>
#include <string.h>
#include <sys/utsname.h>

#include "ground/base/mem.h"
#include "ground/store/digest.h"
#include "virt/image/image.h"

#define PARTS_MAX      1024
#define PART_BYTES_MAX (1ll << 41)

static const struct json_field platform_fields[] = {
	{"os", JSON_TEXT, offsetof(struct manifest_platform, os)},
	{"architecture", JSON_TEXT, offsetof(struct manifest_platform, architecture)},
	{"variant", JSON_TEXT, offsetof(struct manifest_platform, variant)},
};
static const struct json_shape platform_shape =
	JSON_SHAPE(struct manifest_platform, platform_fields);

static const struct json_field part_fields[] = {
	{"mediaType", JSON_TEXT, offsetof(struct manifest_part, media_type)},
	{"digest", JSON_TEXT, offsetof(struct manifest_part, digest), .required = true},
	{"size", JSON_I64, offsetof(struct manifest_part, size_bytes), .required = true},
	{"urls", JSON_TEXTS, offsetof(struct manifest_part, urls)},
	{"platform", JSON_STRUCT, offsetof(struct manifest_part, platform),
	 .shape = &platform_shape},
	{"annotations", JSON_TEXT_MAP, offsetof(struct manifest_part, annotations)},
};
static const struct json_shape part_shape = JSON_SHAPE(struct manifest_part, part_fields);

struct document {
	int64_t schema_version;
	char *media_type;
	struct manifest_part config, *layers, *manifests;
	size_t layers_n, manifests_n;
};

static const struct json_field image_fields[] = {
	{"schemaVersion", JSON_I64, offsetof(struct document, schema_version), .required = true},
	{"mediaType", JSON_TEXT, offsetof(struct document, media_type)},
	{"config", JSON_STRUCT, offsetof(struct document, config), .shape = &part_shape,
	 .required = true},
	{"layers", JSON_LIST, offsetof(struct document, layers), .shape = &part_shape,
	 .count = offsetof(struct document, layers_n), .required = true},
};
static const struct json_shape image_shape = JSON_SHAPE(struct document, image_fields);

static const struct json_field index_fields[] = {
	{"schemaVersion", JSON_I64, offsetof(struct document, schema_version), .required = true},
	{"mediaType", JSON_TEXT, offsetof(struct document, media_type)},
	{"manifests", JSON_LIST, offsetof(struct document, manifests), .shape = &part_shape,
	 .count = offsetof(struct document, manifests_n), .required = true},
};
static const struct json_shape index_shape = JSON_SHAPE(struct document, index_fields);

static int check_part(const struct manifest_part *p, const char *what, const char *key, size_t i,
		      struct err *e)
{
	int r = digest_check(str_of(p->digest), e);

	if (r < 0)
		return err_wrap(e, "%s: %s[%zu].digest", what, key, i);
	if (p->size_bytes < 0 || p->size_bytes > PART_BYTES_MAX)
		return err_set(e, ERR_INVALID, "%s: %s[%zu].size: %lld bytes are out of range",
			       what, key, i, (long long)p->size_bytes);
	return 0;
}

static int check_parts(const struct manifest *m, const char *what, struct err *e)
{
	const char *key = m->index ? "manifests" : "layers";

	if (m->parts_n > PARTS_MAX || (!m->index && m->parts_n > IMAGE_LAYERS_MAX))
		return err_set(e, ERR_INVALID, "%s: %s: %zu entries are more than the %d allowed",
			       what, key, m->parts_n, m->index ? PARTS_MAX : IMAGE_LAYERS_MAX);
	for (size_t i = 0; i < m->parts_n; i++) {
		int r = check_part(&m->parts[i], what, key, i, e);

		if (r < 0)
			return r;
		if (!m->index && m->parts[i].urls && m->parts[i].urls[0])
			return err_set(e, ERR_INVALID,
				       "%s: layers[%zu].urls: layers kept on foreign hosts are not "
				       "fetched",
				       what, i);
	}
	return m->index ? 0 : check_part(&m->config, what, "config", 0, e);
}

/* A type that is known must be the document's; unknown ones (application/json) say nothing. */
static bool type_fits(const char *type, bool is_index)
{
	bool index = type && (strstr(type, "image.index.") || strstr(type, "manifest.list."));
	bool image = type && !index &&
		     (strstr(type, "image.manifest.") || strstr(type, "distribution.manifest."));

	return is_index ? !image : !index;
}

static bool is_schema1(const struct json *j, const char *content_type)
{
	return json_get_i64(j, "schemaVersion", 0) == 1 || json_get(j, "fsLayers") ||
	       (content_type && strstr(content_type, "manifest.v1"));
}

/* One document, one meaning. */
static int check_kind(const struct json *j, const char *what, const char *content_type,
		      struct err *e)
{
	const struct json *layers = json_get(j, "layers"), *manifests = json_get(j, "manifests");
	int64_t version = json_get_i64(j, "schemaVersion", 0);
	const char *type = json_get_text(j, "mediaType");

	if (!layers && !manifests && is_schema1(j, content_type))
		return err_set(e, ERR_UNSUPPORTED,
			       "%s is in the old schema 1, which has no verifiable configuration; "
			       "ask its publisher to push it again",
			       what);
	if (version != 2)
		return err_set(e, ERR_INVALID, "%s: schemaVersion: expected 2, found %lld", what,
			       (long long)version);
	if (layers && manifests)
		return err_set(e, ERR_INVALID,
			       "%s has both 'layers' and 'manifests': it would mean two things",
			       what);
	if (!layers && !manifests)
		return err_set(e, ERR_INVALID, "%s has neither 'layers' nor 'manifests'", what);
	if (!type_fits(type, manifests) || !type_fits(content_type, manifests))
		return err_set(e, ERR_INVALID, "%s is %s, but is called '%.100s'", what,
			       manifests ? "an index" : "one image",
			       type_fits(type, manifests) ? content_type : type);
	return 0;
}

int manifest_parse(struct str bytes, const char *what, const char *content_type, struct arena *a,
		   struct manifest *ret, struct err *e)
{
	auto_json struct json *j = NULL;
	struct document d;
	int r = json_parse(bytes, what, &j, e);

	assert(ret);
	if (r == 0)
		r = check_kind(j, what, content_type, e);
	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	ret->index = json_get(j, "manifests") != NULL;
	r = json_decode(j, ret->index ? &index_shape : &image_shape, what, a, &d, e);
	if (r < 0)
		return r;
	ret->media_type = d.media_type ? d.media_type
			  : ret->index ? MEDIA_OCI_INDEX
				       : MEDIA_OCI_MANIFEST;
	if (!ret->index)
		ret->config = d.config;
	ret->parts = ret->index ? d.manifests : d.layers;
	ret->parts_n = ret->index ? d.manifests_n : d.layers_n;
	return check_parts(ret, what, e);
}

/* ---- Platforms ---- */

struct architecture {
	const char *machine, *name, *variant;
};

static const struct architecture architectures[] = {
	{"x86_64", "amd64", NULL},    {"aarch64", "arm64", "v8"}, {"armv7l", "arm", "v7"},
	{"armv6l", "arm", "v6"},      {"i686", "386", NULL},	  {"ppc64le", "ppc64le", NULL},
	{"riscv64", "riscv64", NULL}, {"s390x", "s390x", NULL},
};

const char *manifest_host_architecture(void)
{
	struct utsname u;

	if (uname(&u) == 0)
		for (size_t i = 0; i < array_len(architectures); i++)
			if (strcmp(u.machine, architectures[i].machine) == 0)
				return architectures[i].name;
	return "unknown";
}

static const char *usual_variant(const char *architecture)
{
	return text_eq(architecture, "arm64") ? "v8" : text_eq(architecture, "arm") ? "v7" : NULL;
}

int manifest_platform_parse(const char *text, struct arena *a, struct manifest_platform *ret,
			    struct err *e)
{
	struct str rest = str_of(text), part;
	char *parts[3] = {NULL, NULL, NULL};
	size_t n = 0;

	memset(ret, 0, sizeof(*ret));
	ret->os = arena_dup_text(a, "linux");
	ret->architecture = arena_dup_text(a, manifest_host_architecture());
	if (!text || !text[0])
		return 0;
	while (str_cut(&rest, '/', &part)) {
		if (n == 3 || part.n == 0)
			return err_set(e, ERR_INVALID,
				       "invalid platform '%s': expected OS/ARCHITECTURE[/VARIANT]",
				       text);
		parts[n++] = arena_dup(a, part);
	}
	if (n == 1 && strcmp(parts[0], "linux") != 0) {
		ret->architecture = parts[0];
		return 0;
	}
	ret->os = parts[0];
	if (n > 1)
		ret->architecture = parts[1];
	ret->variant = parts[2];
	return 0;
}

/* 0: no match; more is better. */
static int platform_score(const struct manifest_platform *have,
			  const struct manifest_platform *want)
{
	const char *want_variant =
		want->variant ? want->variant : usual_variant(want->architecture);
	const char *have_variant =
		have->variant ? have->variant : usual_variant(have->architecture);

	if (!text_eq(have->os, want->os) || !text_eq(have->architecture, want->architecture))
		return 0;
	if (text_eq(have_variant, want_variant))
		return 3;
	if (want->variant)
		return 0;
	/* An older variant runs on a newer processor. */
	return have_variant && want_variant && strcmp(have_variant, want_variant) < 0 ? 2 : 1;
}

int manifest_choose(const struct manifest *index, const struct manifest_platform *want,
		    const char *what, const struct manifest_part **ret, struct err *e)
{
	auto_strbuf struct strbuf there = {0};
	int best = 0;

	assert(index->index);
	for (size_t i = 0; i < index->parts_n; i++) {
		const struct manifest_part *p = &index->parts[i];
		int score = platform_score(&p->platform, want);

		if (score > best) {
			best = score;
			*ret = p;
		}
		if (p->platform.os && strcmp(p->platform.os, "unknown") != 0 && there.n < 300)
			strbuf_printf(&there, "%s%s/%s", there.n ? ", " : "", p->platform.os,
				      p->platform.architecture ? p->platform.architecture : "?");
	}
	/* An index of one image without a platform is that image's. */
	if (!best && index->parts_n == 1 && !index->parts[0].platform.os) {
		*ret = &index->parts[0];
		return 0;
	}
	if (best)
		return 0;
	return err_set(e, ERR_NOT_FOUND, "no matching manifest for %s/%s%s%s in %s; there are: %s",
		       want->os, want->architecture, want->variant ? "/" : "",
		       want->variant ? want->variant : "", what,
		       there.n ? strbuf_text(&there) : "none");
}
