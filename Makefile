# The front door: every target does its own set-up (tool/setup), then asks meson, ninja or a script.
# `make help` lists the targets. BUILD chooses the build directory, J the number of jobs.

BUILD  ?= build
PREFIX ?= /usr/local
J      ?= $(shell nproc)
FUZZ_SECONDS ?= 60
DIFF_STATES  ?= 10000

.PHONY: all demo check soak bench fuzz lint install clean help setup-% $(BUILD)

all: $(BUILD)                 ## build the programs into build/

$(BUILD): setup-build
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) --prefix=$(PREFIX) >$(BUILD).setup.log 2>&1 \
		|| { cat $(BUILD).setup.log; exit 1; }
	@rm -f $(BUILD).setup.log
	@ninja -C $(BUILD) -j $(J)

setup-%:
	@tool/setup $*

demo: $(BUILD) setup-demo     ## run real images in real containers, and show it
	@tool/demo $(BUILD)

check: $(BUILD) setup-test    ## unit tests, then every black-box test (under 15 minutes)
	@HULL_BUILD=$(BUILD) test/run unit fast

soak: $(BUILD) setup-test     ## the long fault loops
	@HULL_BUILD=$(BUILD) test/run soak

bench: $(BUILD) setup-bench   ## the numbers of the house, measured beside its peers
	@HULL_BUILD=$(BUILD) bench/run

fuzz: $(BUILD) setup-lint     ## every fuzzer, FUZZ_SECONDS each; the software CPU beside the real one
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tool/fuzz
	@HULL_DIFF_STATES=$(DIFF_STATES) HULL_DIFF_SEED=$$(date +%s) $(BUILD)/src/virt_vm_check_cpu_diff_test

lint: $(BUILD) setup-lint     ## clang-format, clang-tidy, tool/tidy, shellcheck
	@HULL_BUILD=$(BUILD) tool/lint

install: $(BUILD)             ## install below PREFIX (and DESTDIR)
	@meson install -C $(BUILD) --no-rebuild

clean:                        ## remove what was built
	@rm -rf build build-asan build-fuzz

help:                         ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile
