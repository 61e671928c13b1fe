/*
 * Names and labels: the rules of RFC 1123, RFC 1035 and Kubernetes' own, with the sentences that
 * Kubernetes says when they are broken.
 */
#include <string.h>

#include "cluster/objects/validate.h"
#include "ground/base/str.h"

enum { LABEL = 63, SUBDOMAIN = 253 };

static bool low(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool any_case(char c)
{
	return low(c) || (c >= 'A' && c <= 'Z');
}

/* [a-z0-9]([-a-z0-9]*[a-z0-9])? */
static bool is_label(struct str s)
{
	if (s.n == 0 || !low(s.p[0]) || !low(s.p[s.n - 1]))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!low(s.p[i]) && s.p[i] != '-')
			return false;
	return true;
}

static bool is_subdomain(struct str s)
{
	struct str label;

	if (s.n == 0)
		return false;
	while (str_cut(&s, '.', &label))
		if (!is_label(label))
			return false;
	return true;
}

const char *name_wrong_subdomain(const char *name)
{
	if (strlen(name) > SUBDOMAIN)
		return "must be no more than 253 characters";
	if (is_subdomain(str_of(name)))
		return NULL;
	return "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
	       "'-' or '.', and must start and end with an alphanumeric character (e.g. "
	       "'example.com', regex used for validation is "
	       "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
}

const char *name_wrong_label(const char *name)
{
	if (strlen(name) > LABEL)
		return "must be no more than 63 characters";
	if (is_label(str_of(name)))
		return NULL;
	return "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or "
	       "'-', and must start and end with an alphanumeric character (e.g. 'my-name',  or "
	       "'123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
}

const char *name_wrong_service(const char *name)
{
	if (strlen(name) > LABEL)
		return "must be no more than 63 characters";
	if (is_label(str_of(name)) && name[0] >= 'a')
		return NULL;
	return "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start "
	       "with an alphabetic character, and end with an alphanumeric character (e.g. "
	       "'my-name',  or 'abc-123', regex used for validation is "
	       "'[a-z]([-a-z0-9]*[a-z0-9])?')";
}

/* ([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9] */
static bool is_loose(struct str s)
{
	if (s.n == 0 || !any_case(s.p[0]) || !any_case(s.p[s.n - 1]))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!any_case(s.p[i]) && !strchr("-_.", s.p[i]))
			return false;
	return true;
}

const char *name_wrong_label_key(const char *key)
{
	const char *slash = strchr(key, '/');
	struct str prefix = {key, slash ? (size_t)(slash - key) : 0};
	const char *name = slash ? slash + 1 : key;

	if (slash && (!is_subdomain(prefix) || prefix.n > SUBDOMAIN))
		return "prefix part a lowercase RFC 1123 subdomain must consist of lower case "
		       "alphanumeric characters, '-' or '.', and must start and end with an "
		       "alphanumeric character (e.g. 'example.com', regex used for validation is "
		       "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
	if (strlen(name) > LABEL)
		return "name part must be no more than 63 characters";
	if (is_loose(str_of(name)))
		return NULL;
	return "name part must consist of alphanumeric characters, '-', '_' or '.', and must start "
	       "and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
	       "'123-abc', regex used for validation is "
	       "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
}

const char *name_wrong_label_value(const char *value)
{
	if (strlen(value) > LABEL)
		return "must be no more than 63 characters";
	if (value[0] == '\0' || is_loose(str_of(value)))
		return NULL;
	return "a valid label must be an empty string or consist of alphanumeric characters, '-', "
	       "'_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue', "
	       " "
	       "or 'my_value',  or '12345', regex used for validation is "
	       "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
}
