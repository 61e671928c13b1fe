/*
 * The tables of the configuration, and the one check made of them. Keys are Firecracker's (its
 * swagger description, 1.4); those that only tune what we do not have are accepted and kept.
 */
#include "api/vm/section.h"

#include "api/vm/vm_api.h"
#include "ground/base/mem.h"

#define MIB_MAX	  65536
#define CPUS_MAX  32
#define CID_LEAST 3

static const char *const formats[] = {"raw", "qcow2", NULL};
static const char *const caches[] = {"Unsafe", "Writeback", NULL};

static const struct section_key machine_keys[] = {
	{"vcpu_count", VALUE_NUMBER, true, 1, CPUS_MAX, NULL},
	{"mem_size_mib", VALUE_NUMBER, true, 1, MIB_MAX, NULL},
	{"smt", VALUE_FLAG, false, 0, 0, NULL},
	{"track_dirty_pages", VALUE_FLAG, false, 0, 0, NULL},
	{"cpu_template", VALUE_TEXT, false, 0, 0, NULL},
};
static const struct section_key boot_keys[] = {
	{"kernel_image_path", VALUE_TEXT, true, 0, 0, NULL},
	{"initrd_path", VALUE_TEXT, false, 0, 0, NULL},
	{"boot_args", VALUE_TEXT, false, 0, 0, NULL},
};
static const struct section_key drive_keys[] = {
	{"drive_id", VALUE_TEXT, true, 0, 0, NULL},
	{"path_on_host", VALUE_TEXT, true, 0, 0, NULL},
	{"is_root_device", VALUE_FLAG, true, 0, 0, NULL},
	{"is_read_only", VALUE_FLAG, false, 0, 0, NULL},
	{"partuuid", VALUE_TEXT, false, 0, 0, NULL},
	{"cache_type", VALUE_TEXT, false, 0, 0, caches},
	{"io_engine", VALUE_TEXT, false, 0, 0, NULL},
	{"rate_limiter", VALUE_OBJECT, false, 0, 0, NULL},
	{"format", VALUE_TEXT, false, 0, 0, formats},
};
static const struct section_key nic_keys[] = {
	{"iface_id", VALUE_TEXT, true, 0, 0, NULL},
	{"host_dev_name", VALUE_TEXT, true, 0, 0, NULL},
	{"guest_mac", VALUE_TEXT, false, 0, 0, NULL},
	{"rx_rate_limiter", VALUE_OBJECT, false, 0, 0, NULL},
	{"tx_rate_limiter", VALUE_OBJECT, false, 0, 0, NULL},
};
static const struct section_key vsock_keys[] = {
	{"guest_cid", VALUE_NUMBER, true, CID_LEAST, UINT32_MAX, NULL},
	{"uds_path", VALUE_TEXT, true, 0, 0, NULL},
	{"vsock_id", VALUE_TEXT, false, 0, 0, NULL},
};

const struct section sections[] = {
	{"machine-config", NULL, 0, machine_keys, array_len(machine_keys)},
	{"boot-source", NULL, 0, boot_keys, array_len(boot_keys)},
	{"drives", "drive_id", VM_API_DRIVES_MAX, drive_keys, array_len(drive_keys)},
	{"network-interfaces", "iface_id", VM_API_NICS_MAX, nic_keys, array_len(nic_keys)},
	{"vsock", NULL, 0, vsock_keys, array_len(vsock_keys)},
};
const size_t sections_n = array_len(sections);

const struct section *section_find(const char *path)
{
	for (size_t i = 0; i < sections_n; i++)
		if (text_eq(sections[i].path, path))
			return &sections[i];
	return NULL;
}

static int check_value(const struct section_key *k, const struct json *v, struct err *e)
{
	static const enum json_kind kinds[] = {
		[VALUE_TEXT] = JSON_STRING,
		[VALUE_FLAG] = JSON_BOOL,
		[VALUE_NUMBER] = JSON_NUMBER,
		[VALUE_OBJECT] = JSON_OBJECT,
	};
	static const char *const names[] = {"a text", "true or false", "a number", "an object"};
	int64_t n;

	if (json_kind(v) == JSON_NULL && !k->required)
		return 0;
	if (json_kind(v) != kinds[k->kind] || (k->kind == VALUE_NUMBER && !json_is_whole(v)))
		return err_set(e, ERR_INVALID, "'%s': %s is expected", k->key, names[k->kind]);
	n = json_i64(v, 0);
	if (k->kind == VALUE_NUMBER && (n < k->least || n > k->most))
		return err_set(e, ERR_INVALID, "'%s': %lld is not within %lld to %lld", k->key,
			       (long long)n, (long long)k->least, (long long)k->most);
	if (k->words && !text_in(json_text(v), (char *const *)(uintptr_t)k->words))
		return err_set(e, ERR_INVALID, "'%s': unknown value '%s'", k->key, json_text(v));
	return 0;
}

static const struct section_key *find_key(const struct section *s, const char *key)
{
	for (size_t i = 0; i < s->keys_n; i++)
		if (text_eq(s->keys[i].key, key))
			return &s->keys[i];
	return NULL;
}

int section_check(const struct section *s, const struct json *body, bool whole, struct err *e)
{
	struct json_iter it = {0};
	const char *key;
	struct json *value;

	if (json_kind(body) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "the body of /%s is no JSON object", s->path);
	while (json_next(body, &it, &key, &value)) {
		const struct section_key *k = find_key(s, key);

		if (!k)
			return err_set(e, ERR_INVALID, "/%s has no '%s'", s->path, key);
		if (check_value(k, value, e) < 0)
			return err_wrap(e, "/%s", s->path);
	}
	for (size_t i = 0; whole && i < s->keys_n; i++)
		if (s->keys[i].required && !json_get(body, s->keys[i].key))
			return err_set(e, ERR_INVALID, "/%s lacks '%s'", s->path, s->keys[i].key);
	return 0;
}
