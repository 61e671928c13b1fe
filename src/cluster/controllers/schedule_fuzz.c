/*
 * Fuzz: a schedule's text, and behind a NUL the bytes of a zone's file. What is taken goes on: the
 * next moment lies behind the one asked about, or there is none.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/controllers/schedule.h"
#include "cluster/controllers/zone.h"
#include "ground/base/own.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct str rest = {(const char *)bytes, n}, head;
	auto_free char *text = NULL;
	struct zone *z = NULL;
	struct schedule s;
	struct err e = {0};

	(void)str_cut(&rest, '\0', &head);
	text = str_dup(head);
	if (rest.n && timezone_read(rest, "fuzz", &z, &e) < 0)
		assert(e.text[0] && !z);
	if (schedule_parse(text, &s, &e) == 0) {
		int64_t at = 1700000000;

		for (int i = 0; i < 4 && at; i++) {
			int64_t next = schedule_next(&s, z, at);

			assert(next == 0 || next > at);
			at = next;
		}
	} else {
		assert(e.text[0]);
	}
	z = timezone_free(z);
	return 0;
}
