/*
 * Theory of operation. Rules are walked from the last to the first, since later ones win.
 * Registers: r2 the device's type, r3 the access bits not decided yet, r4 major, r5 minor. A deny
 * rule that matches and shares a bit with r3 ends with 0; an allow rule that matches clears its
 * bits from r3 and ends with 1 once none is left. After the first rule: 0. A rule of type 'a'
 * matches everything, so nothing before it (in the configuration's order) can matter when it names
 * all three accesses.
 *
 * The context is struct bpf_cgroup_dev_ctx: access_type holds the access bits in its upper half and
 * the type in its lower (uapi/linux/bpf.h). Not done: BTF, maps, anything a verifier could dislike.
 */
#include "ground/linux/devices_bpf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ground/base/mem.h"

#define ATTACHED_MAX 64 /* programs that one cgroup can hold (BPF_CGROUP_MAX_PROGS) */

/* One instruction each. */
static struct bpf_insn load_word(int dst, int src, int16_t offset)
{
	return (struct bpf_insn){.code = BPF_LDX | BPF_MEM | BPF_W,
				 .dst_reg = (uint8_t)(dst & 15),
				 .src_reg = (uint8_t)(src & 15),
				 .off = offset};
}

static struct bpf_insn alu_imm(int op, int dst, int32_t imm)
{
	return (struct bpf_insn){.code = (uint8_t)(BPF_ALU | op | BPF_K),
				 .dst_reg = (uint8_t)(dst & 15),
				 .imm = imm};
}

static struct bpf_insn move_reg(int dst, int src)
{
	return (struct bpf_insn){.code = BPF_ALU | BPF_MOV | BPF_X,
				 .dst_reg = (uint8_t)(dst & 15),
				 .src_reg = (uint8_t)(src & 15)};
}

static struct bpf_insn jump_imm(int op, int dst, int32_t imm, int16_t ahead)
{
	return (struct bpf_insn){.code = (uint8_t)(BPF_JMP32 | op | BPF_K),
				 .dst_reg = (uint8_t)(dst & 15),
				 .off = ahead,
				 .imm = imm};
}

static struct bpf_insn leave(void)
{
	return (struct bpf_insn){.code = BPF_JMP | BPF_EXIT};
}

static int32_t access_bits(const struct cgroup_device *r)
{
	return (r->mknod ? BPF_DEVCG_ACC_MKNOD : 0) | (r->read ? BPF_DEVCG_ACC_READ : 0) |
	       (r->write ? BPF_DEVCG_ACC_WRITE : 0);
}

/* One rule: tests that jump behind the rule, then its verdict. */
static size_t add_rule(const struct cgroup_device *r, struct bpf_insn *out)
{
	size_t n = 0, tests[3], tests_n = 0;

	if (r->type != 'a') {
		tests[tests_n++] = n;
		out[n++] = jump_imm(BPF_JNE, BPF_REG_2,
				    r->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR, 0);
	}
	if (r->type != 'a' && r->major >= 0) {
		tests[tests_n++] = n;
		out[n++] = jump_imm(BPF_JNE, BPF_REG_4, (int32_t)r->major, 0);
	}
	if (r->type != 'a' && r->minor >= 0) {
		tests[tests_n++] = n;
		out[n++] = jump_imm(BPF_JNE, BPF_REG_5, (int32_t)r->minor, 0);
	}
	if (r->allow) {
		out[n++] = alu_imm(BPF_AND, BPF_REG_3, ~access_bits(r));
		out[n++] = jump_imm(BPF_JNE, BPF_REG_3, 0, 2);
		out[n++] = alu_imm(BPF_MOV, BPF_REG_0, 1);
	} else {
		out[n++] = move_reg(BPF_REG_1, BPF_REG_3);
		out[n++] = alu_imm(BPF_AND, BPF_REG_1, access_bits(r));
		out[n++] = jump_imm(BPF_JEQ, BPF_REG_1, 0, 2);
		out[n++] = alu_imm(BPF_MOV, BPF_REG_0, 0);
	}
	out[n++] = leave();
	for (size_t i = 0; i < tests_n; i++)
		out[tests[i]].off = (int16_t)(n - tests[i] - 1);
	return n;
}

/* The verifier refuses what cannot be reached: nothing is written before an all-deciding rule. */
static bool decides_all(const struct cgroup_device *r)
{
	return r->type == 'a' && r->read && r->write && r->mknod;
}

size_t devices_bpf_assemble(const struct cgroup_device *rules, size_t n, struct bpf_insn *out)
{
	size_t len = 0;

	assert(n <= CGROUP_DEVICES_MAX);
	out[len++] =
		load_word(BPF_REG_2, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, access_type));
	out[len++] = move_reg(BPF_REG_3, BPF_REG_2);
	out[len++] = alu_imm(BPF_AND, BPF_REG_2, 0xffff);
	out[len++] = alu_imm(BPF_RSH, BPF_REG_3, 16);
	out[len++] = load_word(BPF_REG_4, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, major));
	out[len++] = load_word(BPF_REG_5, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, minor));
	for (size_t i = n; i-- > 0;) {
		if (decides_all(&rules[i])) {
			out[len++] = alu_imm(BPF_MOV, BPF_REG_0, rules[i].allow);
			out[len++] = leave();
			return len;
		}
		len += add_rule(&rules[i], out + len);
	}
	out[len++] = alu_imm(BPF_MOV, BPF_REG_0, 0);
	out[len++] = leave();
	assert(len <= DEVICES_BPF_INSNS_MAX);
	return len;
}

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof *attr);
}

static int load(const struct bpf_insn *insns, size_t n)
{
	union bpf_attr attr = {0};

	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uint64_t)(uintptr_t)insns;
	attr.insn_cnt = (uint32_t)n;
	attr.license = (uint64_t)(uintptr_t) "Apache-2.0";
	memcpy(attr.prog_name, "hull_devices", sizeof "hull_devices");
	return bpf(BPF_PROG_LOAD, &attr);
}

static size_t attached(int dir, uint32_t *ids)
{
	union bpf_attr attr = {0};

	attr.query.target_fd = (uint32_t)dir;
	attr.query.attach_type = BPF_CGROUP_DEVICE;
	attr.query.prog_ids = (uint64_t)(uintptr_t)ids;
	attr.query.prog_cnt = ATTACHED_MAX;
	return bpf(BPF_PROG_QUERY, &attr) < 0 ? 0 : attr.query.prog_cnt;
}

static void detach(int dir, uint32_t id)
{
	union bpf_attr by_id = {0}, attr = {0};
	auto_close int old = -1;

	by_id.prog_id = id;
	old = bpf(BPF_PROG_GET_FD_BY_ID, &by_id);
	if (old < 0)
		return;
	attr.target_fd = (uint32_t)dir;
	attr.attach_bpf_fd = (uint32_t)old;
	attr.attach_type = BPF_CGROUP_DEVICE;
	(void)bpf(BPF_PROG_DETACH, &attr);
}

int devices_bpf_replace(const char *dir, const struct cgroup_device *rules, size_t n, struct err *e)
{
	auto_free struct bpf_insn *insns = mem_new_array(struct bpf_insn, DEVICES_BPF_INSNS_MAX);
	auto_close int fd = open(dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	auto_close int program = -1;
	uint32_t old[ATTACHED_MAX];
	union bpf_attr attr = {0};
	size_t old_n = 0;

	if (fd < 0)
		return err_sys(e, "cannot open the cgroup '%s'", dir);
	program = load(insns, devices_bpf_assemble(rules, n, insns));
	if (program < 0)
		return err_sys(e, "cannot load the eBPF program with the device rules of '%s'",
			       dir);
	old_n = attached(fd, old);
	attr.target_fd = (uint32_t)fd;
	attr.attach_bpf_fd = (uint32_t)program;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	if (bpf(BPF_PROG_ATTACH, &attr) < 0)
		return err_sys(e, "cannot attach the device rules to the cgroup '%s'", dir);
	/* All attached programs must say yes: new rules first, then the old ones go; no gap
	 * between. */
	for (size_t i = 0; i < old_n; i++)
		detach(fd, old[i]);
	return 0;
}
