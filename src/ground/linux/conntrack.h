/*
 * Connection tracking: which flows the kernel remembers, and forgetting some of them. A datagram
 * flow goes on to where its first packet was sent, for as long as it does not pause, whatever the
 * rules say by now: whoever takes a destination away must make the kernel forget.
 *
 * Needs CAP_NET_ADMIN. A kernel without connection tracking remembers nothing: no error.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ground/base/err.h"
#include "ground/base/ip.h"

struct conntrack_flow {
	struct ip from, to; /* as the first packet said, before any translation */
	uint16_t from_port, to_port;
	struct ip answerer; /* who answers: differs from `to` after a translation */
	uint16_t answerer_port;
};

/* Shows every UDP flow of both families; those for which stale() answers true are forgotten. */
int conntrack_forget_udp(bool (*stale)(void *ctx, const struct conntrack_flow *f), void *ctx,
			 struct err *e) must_use;
