# gofer: `make` builds build/gofer, `make test` checks everything, `make demo` shows what it does, `make help` lists the rest.
#
# Variables: BUILD=dir (where everything goes), SAN=address,undefined|thread (sanitizers), CC=gcc|clang, DEBUG=1 (-O0), V=1 (show commands),
#            PREFIX=/usr/local, DESTDIR=
BUILD ?= build
PREFIX ?= /usr/local
CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
VERSION := 0.1.0
SONAME := libgofer.so.0
Q := $(if $(V),,@)
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules --no-print-directory
# In parallel unless the caller said otherwise; a sub-make shares its parent's jobs.
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif

# Quiet where pkg-config or the libraries are still missing: targets that install them run make again afterwards.
PKGS := libprotobuf-c libevent libseccomp libcap-ng jansson libedit openssl
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm
LIB_PKG_LIBS := $(shell pkg-config --libs libprotobuf-c openssl 2>/dev/null)

WARN := -Wall -Wextra -Werror -Wshadow=local -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wno-format-nonliteral \
        -Wno-missing-field-initializers -Wno-unused-parameter
# Instrumentation, or no optimization, hides from gcc what was assigned and how long it is: these warnings are for the plain build.
WARN += $(if $(SAN)$(DEBUG)$(COVERAGE),-Wno-maybe-uninitialized -Wno-format-truncation)
ifneq ($(findstring clang,$(CC)),)
WARN := $(filter-out -Wshadow=local -Wno-maybe-uninitialized -Wno-format-truncation,$(WARN))
endif
HARDEN := -fstack-protector-strong -fPIC -fno-strict-aliasing $(if $(SAN)$(DEBUG)$(COVERAGE),,-D_FORTIFY_SOURCE=2)
OPT := $(if $(DEBUG)$(COVERAGE),-O0 -g3,$(if $(SAN),-O1 -g,-O2 -g))
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer) $(if $(COVERAGE),--coverage -fprofile-update=atomic)
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DGOFER_VERSION='"$(VERSION)"' -I. -I$(BUILD)/gen
BASE_CFLAGS = -std=gnu17 $(OPT) $(HARDEN) $(SANFLAGS) $(PKG_CFLAGS)
ALL_CFLAGS = $(BASE_CFLAGS) $(WARN) $(CFLAGS)
ALL_LDFLAGS = $(SANFLAGS) -Wl,-z,relro,-z,now,--as-needed -pthread $(LDFLAGS)

GEN_C := $(BUILD)/gen/gofer.pb-c.c
GEN_H := $(BUILD)/gen/gofer.pb-c.h
GEN_PY := $(BUILD)/gen/gofer_pb2.py

objects = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(1)))
COMMON_O := $(call objects,common/*.c)
PROTO_O := $(call objects,proto/*.c) $(BUILD)/gen/gofer.pb-c.o
SERVER_O := $(call objects,server/*.c server/fs/*.c)
CLIENT_O := $(call objects,client/*.c client/cache/*.c)
RUN_O := $(call objects,client/run/*.c)
BENCH_O := $(call objects,client/bench/*.c)
CLI_O := $(call objects,client/cli/*.c client/stress/*.c) $(BENCH_O)
UNIT_T := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c))
PROG_T := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/integration/*.c tests/stress/*.c tests/bench/*.c))
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_O := $(call objects,$(filter-out tests/fuzz/fuzz_%.c tests/fuzz/replay.c tests/fuzz/seeds.c,$(wildcard tests/fuzz/*.c)))
FUZZ_T := $(BUILD)/tests/fuzz/seeds $(FUZZERS:%=$(BUILD)/tests/fuzz/replay-%)
INSIDE_T := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/programs/*.c)) $(BUILD)/tests/programs/processes-static
LIB_O := $(COMMON_O) $(PROTO_O)
MAN := $(patsubst client/cli/man/%.scd,$(BUILD)/man/%,$(wildcard client/cli/man/*.scd))
SHARED := $(BUILD)/libgofer.so.$(VERSION)

COMPLETION := scripts/gofer.bash-completion

SOURCES := $(wildcard common/*.c proto/*.c server/*.c server/fs/*.c client/*.c client/cache/*.c client/run/*.c client/cli/*.c client/stress/*.c client/bench/*.c)
HEADERS := $(wildcard common/*.h proto/*.h server/*.h server/fs/*.h client/*.h client/cache/*.h client/run/*.h client/cli/*.h client/stress/*.h client/bench/*.h)
TEST_SOURCES := $(wildcard tests/*/*.c tests/*/*.h tests/stress/twin/*.c tests/bench/peers/*.c tests/bench/peers/*.h)
SCRIPTS := $(wildcard scripts/install-deps scripts/demo $(COMPLETION) tests/run tests/*/*.sh tests/bench/run tests/bench/run_delay tests/bench/run_peers tests/bench/run_syscalls tests/bench/run_cache tests/bench/plots tests/fuzz/run tests/fuzz/minimise tests/fuzz/coverage .ci/run)
SCRIPTS += scripts/make-certs

.PHONY: all programs unit-programs test-programs man clean help demo test check check-asan check-ubsan check-tsan check-valgrind \
        check-noopenat2 check-programs security-matrix bench bench-peers bench-syscalls bench-page bench-run bench-delay bench-channels bench-cache stress coverage lint format format-check install uninstall deps

all: $(BUILD)/gofer $(BUILD)/libgofer.a $(BUILD)/libgofer.so man ## Build the command, the library and the man pages (default)

help: ## List the targets
	@echo "Targets:"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "Variables: BUILD=$(BUILD) CC=$(CC) SAN=address,undefined|thread DEBUG=1 V=1 PREFIX=$(PREFIX) DESTDIR= K=test-name-pattern"

# ---- code -------------------------------------------------------------------------------------------------------------------

# Changes when the compiler or the flags do, so that one BUILD directory never mixes two kinds of objects.
FLAGS := $(CC) $(CPPFLAGS) $(ALL_CFLAGS)
ifeq ($(filter clean help deps demo test format format-check security-matrix uninstall,$(MAKECMDGOALS)),)
ifneq ($(file <$(BUILD)/flags),$(FLAGS))
$(shell mkdir -p $(BUILD))
$(file >$(BUILD)/flags,$(FLAGS))
endif
endif

$(GEN_H) $(GEN_C) &: proto/gofer.proto
	@command -v protoc-c pkg-config >/dev/null || { echo "gofer: packages are missing; run scripts/install-deps" >&2; exit 1; }
	@mkdir -p $(BUILD)/gen
	$(Q)protoc-c -I proto --c_out=$(BUILD)/gen proto/gofer.proto

$(GEN_PY): proto/gofer.proto
	@mkdir -p $(BUILD)/gen
	$(Q)protoc -I proto --python_out=$(BUILD)/gen proto/gofer.proto

$(BUILD)/gen/%.o: $(BUILD)/gen/%.c $(BUILD)/flags
	$(Q)$(CC) $(CPPFLAGS) $(BASE_CFLAGS) -c $< -o $@

$(BUILD)/%.o: %.c $(GEN_H) $(BUILD)/flags
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC    $<")
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# It holds the completion script, word for word.
$(BUILD)/client/cli/completion.o: $(COMPLETION)

$(BUILD)/gofer: $(CLI_O) $(RUN_O) $(SERVER_O) $(CLIENT_O) $(LIB_O)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) $^ $(ALL_LDFLAGS) $(PKG_LIBS) -o $@

$(BUILD)/libgofer.a: $(CLIENT_O) $(LIB_O)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(SHARED): $(CLIENT_O) $(LIB_O) client/libgofer.sym
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=client/libgofer.sym $(if $(SAN),,-Wl,--no-undefined) \
		$(filter %.o,$^) $(ALL_LDFLAGS) $(LIB_PKG_LIBS) -o $@

$(BUILD)/libgofer.so: $(SHARED)
	$(Q)ln -sf $(<F) $(BUILD)/$(SONAME)
	$(Q)ln -sf $(SONAME) $@

man: $(MAN)
$(BUILD)/man/%: client/cli/man/%.scd
	@mkdir -p $(@D)
	$(Q)scdoc <$< >$@.tmp && mv $@.tmp $@

# ---- tests ------------------------------------------------------------------------------------------------------------------

# Everything but the command: each test program takes from it what it refers to.
TESTED := $(BUILD)/tested.a
$(TESTED): $(RUN_O) $(BENCH_O) $(SERVER_O) $(CLIENT_O) $(LIB_O)
	@rm -f $@
	$(Q)ar rcs $@ $^

# Unit tests: one Criterion program per file.
$(UNIT_T): $(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(TESTED)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) $^ $(ALL_LDFLAGS) $(PKG_LIBS) -lcriterion -o $@

# The system calls that the kernel's headers have, as rows HEADER_CALL(name, number).
$(BUILD)/gen/header_calls.inc: $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)echo '#include <asm/unistd_64.h>' | $(CC) -E -dM - | \
		sed -n 's/^#define __NR_\([a-z_0-9]*\) \([0-9]*\)$$/HEADER_CALL(\1, \2)/p' | sort >$@
$(BUILD)/tests/unit/test_run_filter.o: $(BUILD)/gen/header_calls.inc

# The seam of tests/unit/fault.h, in these programs only: what allocates can be made to fail.
FAULT_WRAPS := malloc calloc realloc reallocarray aligned_alloc strdup buffer_new arena_alloc arena_calloc arena_memdup arena_reset
$(filter $(BUILD)/tests/unit/test_fault_%,$(UNIT_T)): LDFLAGS += $(FAULT_WRAPS:%=-Wl,--wrap=%)

# Other test programs: plain main().
$(PROG_T): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(TESTED)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) $^ $(ALL_LDFLAGS) $(PKG_LIBS) -o $@

# The same work over gofer and its peers; over NFS where libnfs is there.
PEERS_T := $(BUILD)/tests/bench/peers/workload
LIBNFS := $(shell pkg-config --exists libnfs 2>/dev/null && echo yes)
PEERS_O := $(call objects,tests/bench/peers/*.c)
$(PEERS_O): CPPFLAGS += $(if $(LIBNFS),-DWITH_LIBNFS)
$(PEERS_T): $(PEERS_O) $(TESTED)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) $^ $(ALL_LDFLAGS) $(PKG_LIBS) $(if $(LIBNFS),-lnfs) -o $@

# Fuzz targets: as programs that replay files, and (with clang) as fuzzers; and what makes their seeds.
$(BUILD)/fuzz.a: $(FUZZ_O)
	@rm -f $@
	$(Q)ar rcs $@ $^
$(FUZZERS:%=$(BUILD)/tests/fuzz/replay-%): $(BUILD)/tests/fuzz/replay-%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o \
		$(BUILD)/fuzz.a $(TESTED)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) $^ $(ALL_LDFLAGS) $(PKG_LIBS) -o $@
$(FUZZERS:%=$(BUILD)/tests/fuzz/fuzz-%): $(BUILD)/tests/fuzz/fuzz-%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/fuzz.a $(TESTED)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) $^ $(ALL_LDFLAGS) -fsanitize=fuzzer $(PKG_LIBS) -o $@
$(BUILD)/tests/fuzz/seeds: $(BUILD)/tests/fuzz/seeds.o $(BUILD)/fuzz.a $(TESTED)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) $^ $(ALL_LDFLAGS) $(PKG_LIBS) -o $@

# The hostile program of the escape suite: static, so that it runs in any root, and never instrumented: it is not what is
# tested. Beside it, programs that only end with a status.
ESCAPE_C := $(wildcard tests/escape/*.c)
ESCAPE_T := $(addprefix $(BUILD)/tests/escape/,escape exit-7 exit-66)
$(BUILD)/tests/escape/escape: $(ESCAPE_C) $(wildcard tests/escape/*.h) client/run/syscalls.def $(BUILD)/flags
	@mkdir -p $(@D)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) -D_GNU_SOURCE -I. -std=gnu17 -O1 -g $(WARN) -static -pthread $(ESCAPE_C) -o $@
$(BUILD)/tests/escape/exit-%: $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)printf 'void _start(void) { __asm__ volatile("syscall" : : "a"(231), "D"($*)); }' | \
		$(CC) -O1 -static -nostdlib -x c - -o $@

# What runs natively and under `gofer run`: programs that know nothing of us, and without sanitizers.
$(BUILD)/tests/programs/%-static: tests/programs/%.c tests/programs/conformance.h $(BUILD)/flags
	@mkdir -p $(@D)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) $(CPPFLAGS) -std=gnu17 -O2 -g $(WARN) -static $< -pthread -o $@
$(BUILD)/tests/programs/%: tests/programs/%.c tests/programs/conformance.h $(BUILD)/flags
	@mkdir -p $(@D)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) $(CPPFLAGS) -std=gnu17 -O2 -g $(WARN) $< -pthread -o $@

# The unsafe twin of the command, and mutants: the same objects, with guards taken off by the linker. Its name says which it is.
TWIN := $(BUILD)/tests/stress/twin
MUTANTS := $(foreach m,slash check fixup absolute dotdot,$(BUILD)/tests/stress/mutant-$m)
TWIN_O := $(BUILD)/tests/stress/twin.d/twin.o
$(TWIN_O): tests/stress/twin/twin.c $(GEN_H) $(BUILD)/flags
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC    $<")
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(TWIN): $(TWIN_O) $(CLI_O) $(RUN_O) $(SERVER_O) $(CLIENT_O) $(LIB_O)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) $^ $(ALL_LDFLAGS) $(PKG_LIBS) -Wl,--wrap=fs_host_ops,--wrap=walk_resolve,--wrap=walk_open -o $@

$(MUTANTS): $(TWIN)
	$(Q)ln -f $< $@

unit-programs: $(UNIT_T)
test-programs: $(PROG_T) $(FUZZ_T) $(ESCAPE_T) $(INSIDE_T) $(TWIN) $(MUTANTS) $(GEN_PY)
programs: all unit-programs test-programs

deps:
	@scripts/install-deps build test

test: deps ## Install what is missing, build, run every test: plain and ASan+UBSan, as root and as an ordinary user
	+@$(MAKE) check

# The two builds share the jobs of this make; `make check K=walk` runs the tests whose names contain "walk".
RUN = tests/run $(if $(K),-k $(K))
check: ## The same without installing packages
	+@$(MAKE) programs
	+@$(MAKE) programs BUILD=$(BUILD)/asan SAN=address,undefined
	@$(RUN) plain=$(BUILD) asan=$(BUILD)/asan

check-asan: ## All tests under AddressSanitizer and LeakSanitizer
	+@$(MAKE) programs BUILD=$(BUILD)/asan-only SAN=address
	@$(RUN) asan=$(BUILD)/asan-only

check-ubsan: ## All tests under UndefinedBehaviorSanitizer
	+@$(MAKE) programs BUILD=$(BUILD)/ubsan SAN=undefined
	@$(RUN) ubsan=$(BUILD)/ubsan

check-tsan: ## The integration tests and plain test programs under ThreadSanitizer (Criterion does not start there)
	+@$(MAKE) all test-programs BUILD=$(BUILD)/tsan SAN=thread
	@$(RUN) tsan=$(BUILD)/tsan

check-valgrind: ## A short run under valgrind's memcheck
	+@$(MAKE) programs
	@$(RUN) -u self valgrind=$(BUILD)

check-noopenat2: ## All tests with openat2 withheld, as on old kernels: the inode-walk for every path
	+@$(MAKE) programs
	@GOFER_TEST_SERVE_ARGS=--no-openat2 $(RUN) plain=$(BUILD)

check-programs: ## Real programs, natively and under gofer run (installs node, go, gdb, Python's own tests: about 500 MB)
	@scripts/install-deps build test programs
	+@$(MAKE) programs
	@tests/run -l -v -u $(if $(filter 0,$(shell id -u)),user,self) -j 1 -k programs/$(K) plain=$(BUILD)

demo: ## Show what gofer does, with real commands and their output
	@scripts/install-deps build test
	+@$(MAKE) all
	@scripts/demo $(BUILD)/gofer

TIME = 1200
stress: ## Races for TIME seconds (1200) with a picture, then every move in every gap of every request
	+@$(MAKE) all test-programs
	@$(BUILD)/gofer stress rename --time $(TIME) --svg $(BUILD)/stress.svg && echo "picture: $(BUILD)/stress.svg"
	@$(BUILD)/gofer stress step

# ARGS of tests/bench/run: -t SECONDS (a row), -g GROUPS, TRANSPORT...
bench: ## What calls cost over every transport, beside native calls, a ping-pong and a toy server (10 minutes; ARGS='-t 0.1' for less)
	@scripts/install-deps build bench
	+@$(MAKE) $(BUILD)/gofer
	@GOFER=$(abspath $(BUILD)/gofer) BUILD=$(abspath $(BUILD)) tests/bench/run $(ARGS)

# ARGS of tests/bench/run_peers: -r ROUNDS, -t SECONDS (a row), PEER...
bench-peers: ## The same work over gofer and over diod, nfs-ganesha, sshfs, bindfs, bubblewrap, gVisor, as far as they are installed
	+@$(MAKE) $(BUILD)/gofer $(PEERS_T)
	@GOFER=$(abspath $(BUILD)/gofer) BUILD=$(abspath $(BUILD)) tests/bench/run_peers $(ARGS)

bench-syscalls: ## The system calls that a request costs on each side
	+@$(MAKE) $(BUILD)/gofer
	@GOFER=$(abspath $(BUILD)/gofer) BUILD=$(abspath $(BUILD)) tests/bench/run_syscalls

bench-page: ## tests/bench/RESULTS.md from what bench, bench-peers, bench-cache and bench-syscalls measured last
	@tests/bench/page $(BUILD)/bench

bench-run: ## Programs under gofer run beside native, bubblewrap and gVisor: a table of ratios
	@scripts/install-deps build bench
	+@$(MAKE) all test-programs
	@GOFER=$(abspath $(BUILD)/gofer) BUILD=$(abspath $(BUILD)) tests/bench/run_programs -r $(or $(ROUNDS),5)

bench-delay: ## get, put, find, du, rm over trees on a link with 20 ms of delay: seconds, rounds, memory
	+@$(MAKE) all test-programs
	@GOFER=$(abspath $(BUILD)/gofer) BUILD=$(abspath $(BUILD)) tests/bench/run_delay

bench-channels: ## Calls through shared memory beside the native call, a bare slot and the socket; what idle channels cost
	+@$(MAKE) all test-programs
	@GOFER=$(abspath $(BUILD)/gofer) BUILD=$(abspath $(BUILD)) tests/bench/run_channels

bench-cache: ## What the client's caches are worth, what memory they take, and what a scan does to them (10 minutes; ARGS=-q for less)
	+@$(MAKE) all test-programs
	@GOFER=$(abspath $(BUILD)/gofer) BUILD=$(abspath $(BUILD)) tests/bench/run_cache $(ARGS)

# Confined processes can write no counters: what only they do (confinement, the monitor) counts as not reached.
coverage: ## Lines and branches that the tests reach (gcovr)
	+@$(MAKE) programs BUILD=$(BUILD)/coverage COVERAGE=1
	@find $(BUILD)/coverage -name '*.gcda' -delete
	@$(RUN) -u self plain=$(BUILD)/coverage
	@gcovr --root . --object-directory $(BUILD)/coverage --exclude tests --exclude '.*pb-c.*' --print-summary \
		--html-details $(BUILD)/coverage/index.html --sort-percentage
	@echo "details: $(BUILD)/coverage/index.html"

security-matrix: ## Write tests/SECURITY_MATRIX.md: which attack is shown to fail by which test
	tests/security-matrix >tests/SECURITY_MATRIX.md.new
	mv tests/SECURITY_MATRIX.md.new tests/SECURITY_MATRIX.md

# ---- fuzzing (tests/fuzz/README.md) -----------------------------------------------------------------------------------------

# TARGET, TIME (seconds), JOBS (processes). Race is under ThreadSanitizer, the others under AddressSanitizer and UBSan; each in its own BUILD.
TARGET ?= session
TIME ?= 60
fuzz_build = $(BUILD)/fuzz$(if $(filter race,$(1)),-tsan)
fuzz_make = $(MAKE) CC=clang BUILD=$(call fuzz_build,$(1)) SAN=fuzzer-no-link,$(if $(filter race,$(1)),thread,address,undefined)

fuzz: ## Fuzz TARGET=decode|session|differential|client|race for TIME=60 seconds: live status, a line that reproduces what is found
	@command -v clang >/dev/null || { echo "gofer: clang is missing; run scripts/install-deps fuzz" >&2; exit 1; }
	+@$(call fuzz_make,$(TARGET)) fuzz-program FUZZ=$(TARGET)
	@tests/fuzz/run $(call fuzz_build,$(TARGET)) $(TARGET) $(TIME) $(JOBS)

fuzz-decode: ## ... raw bytes into framing, decoding, validation
fuzz-session: ## ... whole sessions into a live server
fuzz-differential: ## ... plans done by the server and by the kernel
fuzz-client: ## ... a hostile server against the library
fuzz-race: ## ... two sessions and a renaming attacker, under ThreadSanitizer
$(FUZZERS:%=fuzz-%):
	+@$(MAKE) fuzz TARGET=$(@:fuzz-%=%)

fuzz-smoke: ## Each of them for a minute
	+@set -e; for t in $(FUZZERS); do $(MAKE) fuzz TARGET=$$t TIME=60; done

fuzz-minimise: ## Pack what the fuzzers have collected, as little as reaches every edge, into tests/fuzz/corpus
	+@set -e; $(foreach t,$(FUZZERS),$(call fuzz_make,$(t)) fuzz-program FUZZ=$(t); tests/fuzz/minimise $(call fuzz_build,$(t)) $(t);)

fuzz-coverage: ## Lines that the committed corpus reaches (llvm-cov)
	+@$(MAKE) CC=clang BUILD=$(BUILD)/fuzz-coverage CFLAGS='-fprofile-instr-generate -fcoverage-mapping' \
		LDFLAGS=-fprofile-instr-generate fuzz-replays
	@tests/fuzz/coverage $(BUILD)/fuzz-coverage $(if $(LIST),-u)

fuzz-program: $(BUILD)/tests/fuzz/fuzz-$(FUZZ) $(BUILD)/tests/fuzz/seeds
fuzz-replays: $(FUZZ_T)
.PHONY: fuzz fuzz-smoke fuzz-minimise fuzz-coverage fuzz-program fuzz-replays $(FUZZERS:%=fuzz-%)

# ---- form -------------------------------------------------------------------------------------------------------------------

lint: $(GEN_H) ## clang-tidy, cppcheck, shellcheck, and a build with clang
	+@$(MAKE) programs CC=clang BUILD=$(BUILD)/clang
	shellcheck -s bash -x -P SCRIPTDIR -S warning -e SC1007,SC2034 $(SCRIPTS)
	cppcheck --quiet --std=c11 --language=c --error-exitcode=1 --enable=warning,portability --inline-suppr -j $(shell nproc) \
		--suppressions-list=tests/cppcheck.suppress -I. -I$(BUILD)/gen -D_GNU_SOURCE $(SOURCES)
	printf '%s\0' $(SOURCES) | xargs -0 -n 1 -P $(shell nproc) sh -c \
		'clang-tidy --quiet --warnings-as-errors="*" "$$1" -- -std=gnu17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
			-DGOFER_VERSION="\"$(VERSION)\"" -I. -I$(BUILD)/gen $(PKG_CFLAGS) 2>/dev/null' tidy

format: ## Apply .clang-format
	clang-format -i $(SOURCES) $(HEADERS) $(TEST_SOURCES)

format-check: ## Fail where .clang-format would change something
	clang-format --dry-run --Werror $(SOURCES) $(HEADERS) $(TEST_SOURCES)

# ---- installation -----------------------------------------------------------------------------------------------------------

prefix := $(DESTDIR)$(PREFIX)

install: all ## Install below DESTDIR/PREFIX: command, library, headers, gofer.pc, man pages, completion
	install -D -m 755 $(BUILD)/gofer $(prefix)/bin/gofer
	install -D -m 755 $(SHARED) $(prefix)/lib/libgofer.so.$(VERSION)
	ln -sf libgofer.so.$(VERSION) $(prefix)/lib/$(SONAME)
	ln -sf $(SONAME) $(prefix)/lib/libgofer.so
	install -D -m 644 $(BUILD)/libgofer.a $(prefix)/lib/libgofer.a
	install -D -m 644 client/gofer.h $(prefix)/include/gofer/gofer.h
	install -D -m 644 $(GEN_H) $(prefix)/include/gofer/gofer.pb-c.h
	mkdir -p $(prefix)/lib/pkgconfig
	sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@VERSION@|$(VERSION)|g' client/gofer.pc.in >$(prefix)/lib/pkgconfig/gofer.pc
	for page in $(MAN); do \
		install -D -m 644 "$$page" "$(prefix)/share/man/man$${page##*.}/$${page##*/}" || exit; \
	done
	install -D -m 644 $(COMPLETION) $(prefix)/share/bash-completion/completions/gofer

uninstall: ## Remove what install put there
	rm -f $(prefix)/bin/gofer $(prefix)/lib/libgofer.so.$(VERSION) $(prefix)/lib/$(SONAME) $(prefix)/lib/libgofer.so \
		$(prefix)/lib/libgofer.a $(prefix)/include/gofer/gofer.h $(prefix)/include/gofer/gofer.pb-c.h \
		$(prefix)/lib/pkgconfig/gofer.pc $(prefix)/share/bash-completion/completions/gofer
	for page in $(patsubst client/cli/man/%.scd,%,$(wildcard client/cli/man/*.scd)); do \
		rm -f "$(prefix)/share/man/man$${page##*.}/$$page" || exit; \
	done
	rmdir $(prefix)/include/gofer 2>/dev/null || true

clean: ## Remove the build directory
	rm -rf $(BUILD)

-include $(patsubst %.o,%.d,$(COMMON_O) $(PROTO_O) $(SERVER_O) $(CLIENT_O) $(RUN_O) $(CLI_O)) $(UNIT_T:%=%.d) $(PROG_T:%=%.d) $(PEERS_O:.o=.d) $(TWIN_O:.o=.d) \
         $(patsubst %.c,$(BUILD)/%.d,$(wildcard tests/fuzz/*.c))
