/*
 * The kernel store: see main.c. What a verb has to say goes to standard output, a line per kernel;
 * what went wrong is the caller's to tell.
 */
#pragma once

#include "ground/base/str.h"

int kernel_add(const char *root, const char *init, const char *source, struct err *e) must_use;
int kernel_list(const char *root, struct err *e) must_use;
int kernel_remove(const char *root, char *const *ids, struct err *e) must_use;
