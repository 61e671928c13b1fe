/*
 * One line of a json-file log, read: an object whose values are texts, of which "log", "stream" and
 * "time" count. A line that is anything else (torn by a crash, foreign) is refused as a whole.
 */
#pragma once

#include <stdbool.h>

#include "ground/base/str.h"
#include "virt/keeper/log_reader.h"

#define LOG_LINE_RAW_MAX 131072 /* bytes of an encoded line; what is longer is none of ours */

/* text receives the decoded bytes that ret->text points to. `raw` is without its newline. */
bool log_line_parse(struct str raw, struct strbuf *text, struct log_line *ret);
