/*
 * What the files of validation share: where the walk is, how a finding is noted, and the rules that
 * look at more than one field. A rule gets the object, and what it replaces (NULL for a create).
 */
#pragma once

#include "cluster/objects/validate.h"

struct check {
	const struct kind *kind;
	struct causes *causes;
	struct strbuf path; /* of the object at hand, "" at the top */
	unsigned int depth;
};

/* Notes a finding at a path below the object at hand: "ports[0].name". */
#define check_add(c, kind, below, value, ...) \
	check_add_at((c), (kind), (value), (below), __VA_ARGS__)
void check_add_at(struct check *c, enum cause_kind kind, const struct json *value,
		  const char *below, const char *detail, ...) __attribute__((format(printf, 5, 6)));

/* Steps down; the result goes to check_up(). */
size_t check_down(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void check_up(struct check *c, size_t before);

/* CAUSE_INVALID when the number at `key` is there and out of bounds. */
void check_least(struct check *c, const struct json *object, const char *key, int64_t least);
void check_port(struct check *c, const struct json *object, const char *key);
/* CAUSE_DUPLICATE for elements that have the same text at `key`. */
void check_unique(struct check *c, const struct json *list, const char *name, const char *key);
/* CAUSE_INVALID with the rule's sentence when the text at `key` breaks it. */
void check_name(struct check *c, const struct json *object, const char *key,
		const char *(*wrong)(const char *));
void check_labels(struct check *c, const struct json *map, const char *below);

typedef void rule_fn(struct check *c, const struct json *object, const struct json *old);

rule_fn check_meta, check_config, check_pod, check_pod_spec, check_container, check_volume;
rule_fn check_probe, check_resources, check_service_spec;
rule_fn check_workload, check_deployment, check_stateful, check_job, check_cron, check_scaler;
rule_fn check_budget, check_claim;
rule_fn check_toleration, check_requirement, check_right, check_subject, check_limit, check_quota;
rule_fn check_priority, check_open_port, check_action_port, check_path, check_spread, check_lease;
