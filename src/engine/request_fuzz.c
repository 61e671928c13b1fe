/*
 * Fuzzes what clients send: create requests (read, checked, written back, read again), filters,
 * Dockerfile lines, detach keys, passwd names. The first byte chooses.
 */
#include <stddef.h>
#include <stdint.h>

#include "engine/engine_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_request(struct str text)
{
	auto_json struct json *body = NULL, *again = NULL;
	auto_arena struct arena a = {0};
	struct container_request r;
	struct err e = {0};

	if (json_parse(text, "fuzz", &body, &e) < 0 || request_read(body, &a, &r, &e) < 0)
		return;
	(void)!request_check(&r, &e);
	again = request_json(&r);
	if (request_read(again, &a, &r, &e) < 0)
		abort();
}

static void fuzz_filters(struct str text)
{
	auto_arena struct arena a = {0};
	struct filters f;
	struct err e = {0};
	int64_t until;

	if (filters_read(text, &a, &f, &e) < 0)
		return;
	(void)filter_match_labels(&f, NULL);
	(void)filter_match_glob(&f, "reference", "alpine:3");
	(void)!filter_until(&f, &world_real, &until, &e);
}

static void fuzz_change(struct str text)
{
	auto_free char *line = str_dup(text);
	char *lines[] = {line, NULL};
	struct json *j = NULL;
	struct err e = {0};
	char keys[17];

	if (changes_apply(NULL, lines, &j, &e) >= 0)
		(void)json_free(j);
	(void)attach_keys(line, keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data + 1, size - 1};

	if (size < 1 || size > 65536)
		return 0;
	if (data[0] % 3 == 0)
		fuzz_request(text);
	else if (data[0] % 3 == 1)
		fuzz_filters(text);
	else
		fuzz_change(text);
	return 0;
}
