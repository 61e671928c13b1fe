/*
 * Why a program cannot be executed, as one sentence: missing interpreter, CR LF in the first line,
 * wrong architecture, missing loader, not executable, a directory. Called after execve has failed
 * with `sys`, or before, with sys 0, when a program was not found.
 *
 * The kind of the error follows what a shell tells: ERR_NOT_FOUND is exit code 127, anything else
 * 126.
 */
#pragma once

#include "ground/base/err.h"

/* Returns the negative kind, always. `path` as execve got it. */
int explain_exec(const char *path, int sys, struct err *e);
