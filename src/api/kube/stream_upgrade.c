/*
 * What a client offers to speak, and the headers that accept it. Names of protocols come in one
 * line or in several; the client's first choice that is known wins.
 */
#include <strings.h>

#include "api/kube/stream_priv.h"

#define VERSION_HEADER	"X-Stream-Protocol-Version"
#define PROTOCOL_HEADER "Sec-WebSocket-Protocol"

static const char *known(struct str name, const char *const *names)
{
	for (size_t i = 0; names[i]; i++)
		if (str_is(name, names[i]))
			return names[i];
	return NULL;
}

const char *upgrade_offer(const struct kube_request *r, const char *header,
			  const char *const *names)
{
	const char *line;

	for (size_t i = 0; (line = http_request_header_at(r->http, header, i)); i++) {
		struct str rest = str_of(line), name;

		while (str_cut(&rest, ',', &name)) {
			const char *found = known(str_trim(name), names);

			if (found)
				return found;
		}
	}
	return NULL;
}

static bool is_upgrade(const struct kube_request *r, const char *protocol)
{
	return http_request_wants_upgrade(r->http) &&
	       strcasecmp(http_request_header(r->http, "Upgrade"), protocol) == 0;
}

bool upgrade_is_websocket(const struct kube_request *r)
{
	char accept[HTTP_ACCEPT_ROOM];

	return is_upgrade(r, "websocket") &&
	       text_eq(http_request_header(r->http, "Sec-WebSocket-Version"), "13") &&
	       http_websocket_accept(http_request_header(r->http, "Sec-WebSocket-Key"), accept);
}

bool upgrade_is_spdy(const struct kube_request *r)
{
	return is_upgrade(r, "SPDY/3.1");
}

void upgrade_greet_websocket(struct kube_request *r, const char *protocol)
{
	char accept[HTTP_ACCEPT_ROOM];

	if (!http_websocket_accept(http_request_header(r->http, "Sec-WebSocket-Key"), accept))
		return;
	http_reply_header(r->http, "Upgrade", "websocket");
	http_reply_header(r->http, "Sec-WebSocket-Accept", accept);
	if (protocol)
		http_reply_header(r->http, PROTOCOL_HEADER, protocol);
}

void upgrade_greet_spdy(struct kube_request *r, const char *protocol)
{
	http_reply_header(r->http, "Upgrade", "SPDY/3.1");
	http_reply_header(r->http, VERSION_HEADER, protocol);
}

/* -- of exec and attach ------------------------------------------------------------------------ */

static const struct channel_protocol spdy_protocols[] = {
	{"v5.channel.k8s.io", .json = true}, /* over SPDY the same as v4 */
	{"v4.channel.k8s.io", .json = true},
	{"v3.channel.k8s.io", .json = false},
};
static const struct channel_protocol websocket_protocols[] = {
	{"v5.channel.k8s.io", .websocket = true, .json = true},
	{"v4.channel.k8s.io", .websocket = true, .json = true},
	{"v4.base64.channel.k8s.io", .websocket = true, .json = true, .base64 = true},
	{"channel.k8s.io", .websocket = true},
	{"base64.channel.k8s.io", .websocket = true, .base64 = true},
};
static const struct channel_protocol nameless = {.name = NULL, .websocket = true};

static const struct channel_protocol *choose(const struct kube_request *r, const char *header,
					     const struct channel_protocol *rows, size_t n)
{
	const char *names[8] = {NULL};
	const char *name;

	for (size_t i = 0; i < n; i++)
		names[i] = rows[i].name;
	name = upgrade_offer(r, header, names);
	for (size_t i = 0; name && i < n; i++)
		if (text_eq(rows[i].name, name))
			return &rows[i];
	return NULL;
}

const struct channel_protocol *channels_protocol(struct kube_request *r)
{
	if (upgrade_is_spdy(r))
		return choose(r, VERSION_HEADER, spdy_protocols, array_len(spdy_protocols));
	if (!upgrade_is_websocket(r))
		return NULL;
	if (!http_request_header(r->http, PROTOCOL_HEADER))
		return &nameless;
	return choose(r, PROTOCOL_HEADER, websocket_protocols, array_len(websocket_protocols));
}

void channels_greet(struct kube_request *r, const struct channel_protocol *p)
{
	if (p->websocket)
		upgrade_greet_websocket(r, p->name);
	else
		upgrade_greet_spdy(r, p->name);
}
