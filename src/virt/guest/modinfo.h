/*
 * Kernel modules as files: which others one needs, from the .modinfo section of its ELF file (a row
 * of NUL-terminated "key=value"), and an order in which a set of them can be loaded.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ground/base/arena.h"
#include "ground/base/err.h"
#include "ground/base/str.h"

#define MODULES_MAX	   8192
#define MODULE_DEPENDS_MAX 64
#define MODULE_NAME_CHARS  63

struct module {
	char *name;	/* as the kernel names it: '-' is '_' */
	char **depends; /* NULL-terminated */
	struct str bytes;
};

struct module_set {
	struct module *list;
	size_t n, room;
	struct arena *arena; /* names, depends, and bytes where they were copied */
};

/* "virtio-rng.ko" -> "virtio_rng", in the arena. */
char *module_name(struct str file, struct arena *a);
/* The names in "depends=" of an ELF file; {NULL} when there are none. */
int module_depends(struct str elf, struct arena *a, char ***ret, struct err *e) must_use;
/* Adds a module of that file name; bytes are copied. */
int module_add(struct module_set *s, struct str file, struct str bytes, struct err *e) must_use;
/*
 * The wanted modules and all that they need, each behind what it needs. A wanted one that the set
 * lacks is left out: the kernel has it built in, or not at all.
 */
int module_order(const struct module_set *s, const char *const *wanted, struct arena *a,
		 const struct module ***ret, size_t *ret_n, struct err *e) must_use;
