/*
 * UTF-8 (RFC 3629): whether bytes from outside are text. Overlong forms, surrogates and what lies
 * above U+10FFFF are not.
 */
#pragma once

#include <stdbool.h>

#include "ground/base/str.h"

bool utf8_is(struct str text);
