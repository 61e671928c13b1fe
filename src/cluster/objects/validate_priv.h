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
void check_range(struct check *c, const struct json *object, const char *key, int64_t least,
		 int64_t most);
void check_port(struct check *c, const struct json *object, const char *key);
/* The same when the text at `key` is no address; no whole number from 0 and no share ("25%"). */
void check_address(struct check *c, const struct json *object, const char *key);
void check_share(struct check *c, const struct json *object, const char *key);
/* CAUSE_DUPLICATE for elements that have the same text at `key`. */
void check_unique(struct check *c, const struct json *list, const char *name, const char *key);
/* CAUSE_INVALID with the rule's sentence when the text at `key` breaks it. */
void check_name(struct check *c, const struct json *object, const char *key,
		const char *(*wrong)(const char *));
void check_labels(struct check *c, const struct json *map, const char *below);
/* A reference to a field of the pod: one of `known` (NULL-terminated), a label or an annotation. */
void check_field_ref(struct check *c, const struct json *ref, const char *below,
		     const char *const *known);
const char *name_wrong_port(const char *name);

typedef void rule_fn(struct check *c, const struct json *object, const struct json *old);

rule_fn check_action_port, check_binding, check_block, check_budget, check_claim;
rule_fn check_config, check_config_files, check_container, check_cron, check_cron_name;
rule_fn check_daemon, check_deployment, check_downward, check_empty_dir, check_endpoint;
rule_fn check_endpoint_port, check_env_from, check_env_source, check_ephemeral, check_files;
rule_fn check_handler, check_host_alias, check_host_path, check_ingress, check_ingress_rule;
rule_fn check_ingress_service, check_job, check_key_path, check_lease, check_limit;
rule_fn check_meta, check_metric, check_mount, check_open_port, check_path, check_persistent;
rule_fn check_pod, check_pod_rights, check_pod_spec, check_priority, check_probe;
rule_fn check_projection, check_quota, check_requirement, check_resource_ref;
rule_fn check_resources, check_right, check_rights, check_role, check_scaler, check_secret;
rule_fn check_secret_files, check_service_spec, check_spread, check_stateful, check_subject;
rule_fn check_toleration, check_volume, check_weight, check_workload;
