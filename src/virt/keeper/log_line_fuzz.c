/*
 * Fuzzes the reader of json-file lines: no line, however torn, may crash it; what it accepts is a
 * stream, a time and bytes no longer than the line.
 */
#include <assert.h>
#include <stdint.h>

#include "virt/keeper/log_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_strbuf struct strbuf text = {0};
	struct log_line line = {0};

	if (log_line_parse((struct str){(const char *)data, size}, &text, &line)) {
		assert(line.stream == LOG_STREAM_STDOUT || line.stream == LOG_STREAM_STDERR);
		assert(line.text_n <= size);
		assert(line.time_ns >= 0);
	}
	return 0;
}
