/* The sections of a machine's configuration: which keys each has and what may stand there. */
#pragma once

#include "ground/format/json.h"

enum value_kind { VALUE_TEXT, VALUE_FLAG, VALUE_NUMBER, VALUE_OBJECT };

struct section_key {
	const char *key;
	enum value_kind kind;
	bool required;
	int64_t least, most;	  /* of a number */
	const char *const *words; /* of a text; NULL: any */
};

struct section {
	const char *path;   /* without the slash and the id: "drives" */
	const char *id_key; /* the key that repeats the id of the path; NULL: no id */
	size_t list_max;    /* 0: one object, else a list of so many */
	const struct section_key *keys;
	size_t keys_n;
};

extern const struct section sections[];
extern const size_t sections_n;

const struct section *section_find(const char *path);
/* `whole`: what is required must be there. */
int section_check(const struct section *s, const struct json *body, bool whole,
		  struct err *e) must_use;
