/*
 * The network of this node, for who balances its services and serves its names (cluster/node): the
 * engine owns it, and plugs sandboxes into it as pods when engine_options.pods says what they are.
 * What may be done here is what virt/network/service.h and zone.h offer; pods, bridges and the host
 * itself stay the engine's.
 */
#pragma once

struct engine;
struct network_host; /* virt/network/network.h */

struct network_host *engine_cluster_net(struct engine *g); /* as long as the engine lives */
