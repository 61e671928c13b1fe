/* The numbers of an indexed job as text: "0,2-4,7". */
#include <assert.h>
#include <stdlib.h>

#include "cluster/controllers/job_priv.h"
#include "ground/base/parse.h"

static bool read_number(struct str text, int64_t *ret)
{
	struct err e;

	return parse_i64(text, "index", ret, &e) == 0 && *ret >= 0;
}

void job_indexes_read(const char *text, bool *done, int64_t n)
{
	struct str rest = str_of(text), one, first;
	int64_t from, to;

	while (str_cut(&rest, ',', &one)) {
		struct str last = one;

		(void)str_cut(&last, '-', &first);
		if (!read_number(first, &from))
			continue;
		to = from;
		if (last.n && !read_number(last, &to))
			continue;
		for (int64_t i = from; i <= to && i < n; i++)
			done[i] = true;
	}
}

char *job_indexes_text(const bool *done, int64_t n)
{
	auto_strbuf struct strbuf text = {0};

	for (int64_t i = 0; i < n; i++) {
		int64_t last = i;

		if (!done[i])
			continue;
		while (last + 1 < n && done[last + 1])
			last++;
		strbuf_printf(&text, "%s%lld", text.n ? "," : "", (long long)i);
		if (last > i)
			strbuf_printf(&text, "%c%lld", last > i + 1 ? '-' : ',', (long long)last);
		i = last;
	}
	return strbuf_take(&text);
}
