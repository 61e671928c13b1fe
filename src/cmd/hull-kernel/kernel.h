/* The kernel store: see main.c. Texts go to standard output. */
#pragma once

#include "ground/base/str.h"

int kernel_add(const char *root, const char *init, const char *source, struct err *e) must_use;
int kernel_list(const char *root, struct err *e) must_use;
int kernel_remove(const char *root, char *const *ids, struct err *e) must_use;
