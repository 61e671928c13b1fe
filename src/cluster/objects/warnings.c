/*
 * Warnings: what is taken but hardly meant. They go back with the answer, in Kubernetes' words, and
 * kubectl prints them. One walk over the containers of a pod or of a template; what is refused is
 * validation's.
 */
#include <string.h>

#include "cluster/objects/pipeline_priv.h"
#include "ground/base/mem.h"
#include "ground/format/quantity.h"

#define WARNINGS_MAX 16

struct warnings {
	struct change *change;
	const char *at; /* "spec.template.spec" */
	size_t n;
};

static void warn(struct warnings *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void warn(struct warnings *w, const char *fmt, ...)
{
	auto_strbuf struct strbuf text = {0};
	va_list ap;

	if (w->n++ >= WARNINGS_MAX)
		return;
	va_start(ap, fmt);
	strbuf_vprintf(&text, fmt, ap);
	va_end(ap);
	mem_append_text(&w->change->warnings, strbuf_text(&text));
}

/* -- one container ----------------------------------------------------------------------------- */

static void same_ports(struct warnings *w, const char *at, const struct json *ports)
{
	for (size_t i = 0; i < json_len(ports); i++)
		for (size_t k = 0; k < i; k++) {
			const struct json *a = json_at(ports, k), *b = json_at(ports, i);

			if (json_get_i64(a, "containerPort", 0) !=
				    json_get_i64(b, "containerPort", 0) ||
			    !text_eq(json_get_text(a, "protocol"), json_get_text(b, "protocol")))
				continue;
			warn(w, "%s.ports[%zu]: duplicate port definition with %s.ports[%zu]", at,
			     i, at, k);
			break;
		}
}

static void hidden_variables(struct warnings *w, const char *at, const struct json *env)
{
	for (size_t i = 0; i < json_len(env); i++) {
		const char *name = json_get_text(json_at(env, i), "name");

		if (name && json_find(env, "name", name) != json_at(env, i))
			warn(w,
			     "%s.env[%zu]: hides previous definition of \"%s\", which may be "
			     "dropped when using apply",
			     at, i, name);
	}
}

/* "100m" of memory is a tenth of a byte: it was meant to be "100M". */
static void parts_of_bytes(struct warnings *w, const char *at, const char *list,
			   const struct json *amounts)
{
	static const char *const bytes[] = {"memory", "ephemeral-storage"};

	for (size_t i = 0; i < array_len(bytes); i++) {
		const struct json *value = json_get(amounts, bytes[i]);
		struct quantity q;

		if (json_text(value) && quantity_parse(json_str(value), &q, NULL) == 0 &&
		    q.nano % 1000000000 != 0)
			warn(w,
			     "%s.resources.%s[%s]: fractional byte value \"%s\" is invalid, must "
			     "be an integer",
			     at, list, bytes[i], json_text(value));
	}
}

static void warn_container(struct warnings *w, const char *at, const struct json *one)
{
	const struct json *resources = json_get(one, "resources");

	same_ports(w, at, json_get(one, "ports"));
	hidden_variables(w, at, json_get(one, "env"));
	parts_of_bytes(w, at, "limits", json_get(resources, "limits"));
	parts_of_bytes(w, at, "requests", json_get(resources, "requests"));
}

/* -- pods and all objects ---------------------------------------------------------------------- */

static void warn_pod(struct warnings *w, const struct json *spec)
{
	static const char *const lists[] = {"initContainers", "containers"};
	const struct json *secrets = json_get(spec, "imagePullSecrets");

	for (size_t l = 0; l < array_len(lists); l++) {
		const struct json *list = json_get(spec, lists[l]);

		for (size_t i = 0; i < json_len(list); i++) {
			auto_free char *at = mem_printf("%s.%s[%zu]", w->at, lists[l], i);

			warn_container(w, at, json_at(list, i));
		}
	}
	for (size_t i = 0; i < json_len(secrets); i++) {
		const char *name = json_get_text(json_at(secrets, i), "name");

		if (!name || !name[0])
			warn(w, "%s.imagePullSecrets[%zu].name: invalid empty name \"\"", w->at, i);
	}
}

static void warn_finalizers(struct warnings *w, const struct json *list)
{
	for (size_t i = 0; i < json_len(list); i++) {
		const char *name = json_text(json_at(list, i));

		if (name && !strchr(name, '/') && !text_eq(name, "orphan") &&
		    !text_eq(name, "foregroundDeletion") && !text_eq(name, "kubernetes"))
			warn(w,
			     "metadata.finalizers: \"%s\": prefer a domain-qualified finalizer "
			     "name including a path (/) to avoid accidental conflicts with other "
			     "finalizer writers",
			     name);
	}
}

void warnings_add(struct change *c)
{
	const struct json *spec = json_get(c->object, "spec");
	const struct json *template = json_get(spec, "template");
	struct warnings w = {.change = c, .at = "spec"};

	if (c->sub)
		return;
	if (c->verb == CHANGE_CREATE)
		warn_finalizers(&w, json_get(json_get(c->object, "metadata"), "finalizers"));
	if (json_get(spec, "jobTemplate")) {
		w.at = "spec.jobTemplate.spec.template.spec";
		template = json_get(json_get(json_get(spec, "jobTemplate"), "spec"), "template");
	} else if (template) {
		w.at = "spec.template.spec";
	}
	if (template)
		warn_pod(&w, json_get(template, "spec"));
	else if (text_eq(c->stored->name, "Pod") && c->verb == CHANGE_CREATE)
		warn_pod(&w, spec);
}
