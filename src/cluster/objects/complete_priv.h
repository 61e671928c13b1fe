/*
 * The rules of completing that look at several fields, one for a type: complete_rules.c.
 */
#pragma once

#include "ground/format/json.h"

void complete_container(struct json *container);
void complete_resources(struct json *resources);
void complete_pod_spec(struct json *spec);
void complete_volume(struct json *volume);
void complete_service(struct json *spec);
void complete_rolling(struct json *strategy);
void complete_stateful(struct json *spec);
void complete_labels(struct json *workload);
void complete_job(struct json *spec);
void complete_secret(struct json *secret);
void complete_namespace(struct json *namespace);
void complete_pod(struct json *pod);
void complete_pending(struct json *object);
void complete_subject(struct json *subject);
void complete_policy(struct json *spec);
void complete_autoscaler(struct json *spec);

/* "Guaranteed", "Burstable" or "BestEffort" of a pod's spec. */
const char *complete_qos(const struct json *spec);
