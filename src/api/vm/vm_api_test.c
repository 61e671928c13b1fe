/* The calls of the control socket against a machine that only remembers what it was told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/vm/vm_api.h"
#include "ground/base/mem.h"

struct fake {
	enum vm_api_state state;
	int starts, resets;
	bool refuse;
	struct vm_api *api;
};

static int fake_start(void *ctx, const struct json *config, struct err *e)
{
	struct fake *f = ctx;

	if (f->refuse)
		return err_set(e, ERR_NOT_FOUND, "cannot open kernel 'k'");
	assert_non_null(json_get(config, "boot-source"));
	f->starts++;
	f->state = VM_API_RUNNING;
	return 0;
}

static int fake_pause(void *ctx, struct err *e)
{
	(void)e;
	((struct fake *)ctx)->state = VM_API_PAUSED;
	return 0;
}

static int fake_resume(void *ctx, struct err *e)
{
	(void)e;
	((struct fake *)ctx)->state = VM_API_RUNNING;
	return 0;
}

static int fake_reset(void *ctx, struct err *e)
{
	(void)e;
	((struct fake *)ctx)->resets++;
	return 0;
}

static enum vm_api_state fake_state(void *ctx)
{
	return ((struct fake *)ctx)->state;
}

static struct json *fake_stats(void *ctx)
{
	(void)ctx;
	return json_new_object();
}

static const struct vm_api_ops ops = {fake_start, fake_pause, fake_resume,
				      fake_reset, fake_state, fake_stats};

static int setup(void **state)
{
	struct fake *f = mem_new(struct fake);

	assert_int_equal(vm_api_new(NULL, -1, "m1", &ops, f, &f->api, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fake *f = *state;

	f->api = vm_api_free(f->api);
	free(f);
	return 0;
}

static void expect(struct fake *f, const char *method, const char *path, const char *body,
		   int status, const char *part)
{
	auto_json struct json *answer = NULL;
	auto_strbuf struct strbuf text = {0};

	assert_int_equal(vm_api_call(f->api, method, path, str_of(body), &answer), status);
	if (answer)
		json_write(answer, &text);
	if (part && !strstr(strbuf_text(&text), part))
		fail_msg("%s %s: '%s' has no '%s'", method, path, strbuf_text(&text), part);
}

static void test_whole_life(void **state)
{
	struct fake *f = *state;

	expect(f, "GET", "/", "", 200, "\"Not started\"");
	expect(f, "GET", "/version", "", 200, "firecracker_version");
	expect(f, "PUT", "/actions", "{\"action_type\":\"InstanceStart\"}", 400, "no kernel");
	expect(f, "PUT", "/machine-config", "{\"vcpu_count\":2,\"mem_size_mib\":256}", 204, NULL);
	expect(f, "PATCH", "/machine-config", "{\"mem_size_mib\":512}", 204, NULL);
	expect(f, "GET", "/machine-config", "", 200, "512");
	expect(f, "PUT", "/boot-source", "{\"kernel_image_path\":\"/k\",\"boot_args\":\"x\"}", 204,
	       NULL);
	expect(f, "PUT", "/drives/root",
	       "{\"drive_id\":\"root\",\"path_on_host\":\"/d\",\"is_root_device\":true}", 204,
	       NULL);
	expect(f, "PUT", "/vsock", "{\"guest_cid\":3,\"uds_path\":\"v\"}", 204, NULL);
	expect(f, "PUT", "/network-interfaces/eth0",
	       "{\"iface_id\":\"eth0\",\"host_dev_name\":\"tap0\"}", 204, NULL);
	expect(f, "GET", "/vm/config", "", 200, "tap0");
	expect(f, "PATCH", "/vm", "{\"state\":\"Paused\"}", 400, "not started");
	expect(f, "PUT", "/actions", "{\"action_type\":\"InstanceStart\"}", 204, NULL);
	expect(f, "PUT", "/actions", "{\"action_type\":\"InstanceStart\"}", 400, "started");
	expect(f, "PATCH", "/vm", "{\"state\":\"Paused\"}", 204, NULL);
	expect(f, "GET", "/", "", 200, "\"Paused\"");
	expect(f, "PATCH", "/vm", "{\"state\":\"Resumed\"}", 204, NULL);
	expect(f, "PUT", "/actions", "{\"action_type\":\"SendCtrlAltDel\"}", 204, NULL);
	expect(f, "PUT", "/boot-source", "{\"kernel_image_path\":\"/k\"}", 400, "started");
	assert_int_equal(f->starts, 1);
	assert_int_equal(f->resets, 1);
}

static void test_faults(void **state)
{
	static const struct {
		const char *method, *path, *body, *part;
	} rows[] = {
		{"GET", "/nothing", "", "there is no GET /nothing"},
		{"POST", "/", "", "there is no POST"},
		{"PUT", "/machine-config", "", "fault_message"},
		{"PUT", "/machine-config", "[]", "no JSON object"},
		{"PUT", "/machine-config", "{\"vcpu_count\":2}", "mem_size_mib"},
		{"PUT", "/machine-config", "{\"vcpu_count\":0,\"mem_size_mib\":1}", "0 is not"},
		{"PUT", "/machine-config", "{\"vcpu_count\":1.5,\"mem_size_mib\":1}", "a number"},
		{"PUT", "/machine-config", "{\"vcpu_count\":1,\"mem_size_mib\":1,\"x\":1}", "'x'"},
		{"PUT", "/drives", "{}", "there is no"},
		{"PUT", "/drives/a",
		 "{\"drive_id\":\"b\",\"path_on_host\":\"/d\",\"is_root_device\":"
		 "true}",
		 "id of the path"},
		{"PUT", "/drives/a/b", "{}", "there is no"},
		{"PUT", "/actions", "{\"action_type\":\"Explode\"}", "Explode"},
		{"PUT", "/vsock", "{\"guest_cid\":2,\"uds_path\":\"v\"}", "2 is not"},
	};
	struct fake *f = *state;

	for (size_t i = 0; i < array_len(rows); i++)
		expect(f, rows[i].method, rows[i].path, rows[i].body, 400, rows[i].part);
	expect(f, "PUT", "/boot-source", "{\"kernel_image_path\":\"k\"}", 204, NULL);
	f->refuse = true;
	expect(f, "PUT", "/actions", "{\"action_type\":\"InstanceStart\"}", 400, "cannot open");
}

/* A drive that is put again is changed, not doubled; their number is bounded. */
static void test_drives(void **state)
{
	struct fake *f = *state;

	for (int i = 0; i <= VM_API_DRIVES_MAX; i++) {
		auto_free char *path = mem_printf("/drives/d%d", i);
		auto_free char *body = mem_printf("{\"drive_id\":\"d%d\",\"path_on_host\":\"/%d\","
						  "\"is_root_device\":false}",
						  i, i);

		expect(f, "PUT", path, body, i < VM_API_DRIVES_MAX ? 204 : 400, NULL);
		if (i == 0)
			expect(f, "PUT", path, body, 204, NULL);
	}
	assert_int_equal(json_len(json_get(vm_api_config(f->api), "drives")), VM_API_DRIVES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_whole_life, setup, teardown),
		cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drives, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
