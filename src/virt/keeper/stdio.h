/*
 * The pipes behind a process's standard streams: our ends and the process's. All are close-on-exec;
 * -1 is none.
 */
#pragma once

#include <stdbool.h>

#include "ground/base/err.h"

/*
 * Without `input`, the process reads /dev/null; without `output`, it writes there. `ours` is what
 * streams_begin() takes: 0 the writing end of its input, 1 and 2 the reading ends of its outputs.
 */
int stdio_make(bool input, bool output, int ours[3], int theirs[3], struct err *e) must_use;
void stdio_close(int fds[3]); /* all become -1 */
