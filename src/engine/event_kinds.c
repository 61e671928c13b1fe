/*
 * Events of things that are no containers: their attributes in one place.
 */
#include "engine/engine_priv.h"

void event_volume(struct engine *g, enum owner owner, const char *action, const char *name)
{
	const struct json_pair pairs[] = {{(char *)"driver", (char *)"local"}, {0}};

	event_say(g, owner, "volume", action, name, pairs);
}

void event_network(struct engine *g, enum owner owner, const char *action, const struct network *n,
		   const char *container_id)
{
	const struct network_spec *s = network_spec(n);
	const struct json_pair pairs[] = {
		{(char *)"name", s->name},
		{(char *)"type", s->driver},
		{container_id ? (char *)"container" : NULL, (char *)container_id},
		{0},
	};

	event_say(g, owner, "network", action, s->id, pairs);
}

void event_image(struct engine *g, enum owner owner, const char *action, const char *id,
		 const char *name)
{
	const struct json_pair pairs[] = {{(char *)"name", (char *)name}, {0}};

	event_say(g, owner, "image", action, id, name ? pairs : NULL);
}
