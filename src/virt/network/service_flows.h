/*
 * Forgetting UDP flows of services that changed: lists of elements before and now, side by
 * side.
 */
#pragma once

#include "virt/network/service_priv.h"

int service_flows_forget(const struct fact_list *before, const struct fact_list *const *now,
			 size_t n, struct err *e) must_use;
