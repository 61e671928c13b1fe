/* Sizes, ages and ports in words: see words.h. */
#include "cli/words.h"

#include <inttypes.h>
#include <stdio.h>

#include "ground/base/mem.h"
#include "ground/format/json.h"

char *words_bytes(int64_t n)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
	double v = (double)n;
	size_t u = 0;

	while (v >= 1000 && u + 1 < array_len(units)) {
		v /= 1000;
		u++;
	}
	return mem_printf(v >= 100 || u == 0 ? "%.0f%s"
			  : v >= 10	     ? "%.1f%s"
					     : "%.2f%s",
			  v, units[u]);
}

char *words_ago(int64_t then_s, int64_t now_s)
{
	static const struct {
		int64_t seconds;
		const char *name;
	} units[] = {{31536000, "year"}, {2592000, "month"}, {604800, "week"}, {86400, "day"},
		     {3600, "hour"},	 {60, "minute"},     {1, "second"}};
	int64_t age = now_s - then_s;

	for (size_t i = 0; i < array_len(units); i++) {
		int64_t n = age / units[i].seconds;

		if (n >= 1)
			return mem_printf("%" PRId64 " %s%s ago", n, units[i].name,
					  n == 1 ? "" : "s");
	}
	return mem_dup_text("just now");
}

char *words_ports(const void *ports)
{
	const struct json *list = ports;
	struct strbuf out = {0};

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *p = json_at(list, i);
		const char *ip = json_get_text(p, "IP");
		int64_t host = json_get_i64(p, "PublicPort", 0);

		if (out.n)
			strbuf_add_text(&out, ", ");
		if (host)
			strbuf_printf(&out, "%s:%" PRId64 "->", ip ? ip : "", host);
		strbuf_printf(&out, "%" PRId64 "/%s", json_get_i64(p, "PrivatePort", 0),
			      json_get_text(p, "Type") ? json_get_text(p, "Type") : "tcp");
	}
	return strbuf_take(&out);
}
