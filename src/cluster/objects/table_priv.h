/*
 * Cells that are computed: each puts its text into `out`, or nothing, which table.c shows as
 * "<none>" or as an empty cell.
 */
#pragma once

#include "cluster/objects/table.h"

typedef void cell_fn(const struct json *object, int64_t now_ns, struct strbuf *out);

/* By the name behind '@' in a column; NULL: no such cell. */
cell_fn *table_cell(const char *name);

/* Every cell function: X(name) is cell_name() and "@name" in a column. */
/* clang-format off */
#define TABLE_CELLS(X) \
	X(access_modes) X(account_secrets) X(attributes_class) X(binding_accounts) \
	X(binding_groups) X(binding_role) X(binding_users) X(budget_max) \
	X(budget_min) X(class_expand) X(component_error) X(component_message) \
	X(component_status) X(config_data) X(containers) X(controller) \
	X(cron_active) X(cron_last) X(cron_zone) X(csr_condition) \
	X(csr_duration) X(deleting_phase) X(deployment_ready) X(endpoints) \
	X(event_count) X(event_first) X(event_last) X(event_message) \
	X(event_object) X(event_source) X(global_default) X(images) \
	X(ingress_address) X(ingress_class) X(ingress_hosts) X(ingress_parameters) \
	X(ingress_ports) X(job_completions) X(job_duration) X(job_status) \
	X(node_drivers) X(node_external) X(node_internal) X(node_os) \
	X(node_roles) X(node_selector) X(node_status) X(pod_gates) \
	X(pod_ready) X(pod_restarts) X(pod_selector) X(pod_status) \
	X(quota_limits) X(quota_requests) X(scaler_min) X(scaler_reference) \
	X(scaler_targets) X(secret_data) X(selector) X(service_external) \
	X(service_ip) X(service_ports) X(slice_endpoints) X(slice_ports) \
	X(template_labels) X(volume_claim)
/* clang-format on */

#define TABLE_DECLARE(name) cell_fn cell_##name;
TABLE_CELLS(TABLE_DECLARE)

/* Texts for showing: "" where there is none. */
const char *table_shown(const struct json *text);
const char *table_text(const struct json *object, const char *key);
int64_t table_time(const struct json *object, const char *key); /* 0: absent */
/* "5m" before now of a time field; "<unknown>" without one. */
void table_since(const struct json *object, const char *key, int64_t now_ns, struct strbuf *out);
void table_labels(const struct json *map, struct strbuf *out);	      /* "a=b,c=d" */
struct json *table_path(const struct json *object, const char *path); /* ".a.b" */
void table_selector(const struct json *selector, struct strbuf *out);
