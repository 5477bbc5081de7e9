# gofer: `make` builds build/gofer, `make test` checks everything, `make demo` shows what it does, `make help` lists the rest.
#
# Variables: BUILD=dir (where everything goes), SAN=address,undefined|thread (sanitizers), CC=gcc|clang, DEBUG=1 (-O0), V=1 (show commands),
#            PREFIX=/usr/local, DESTDIR=
BUILD ?= build
PREFIX ?= /usr/local
CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
VERSION := 0.1.0
Q := $(if $(V),,@)
.DEFAULT_GOAL := all
# A few recipes install packages first; everything else assumes them.
MAKEFLAGS += --no-builtin-rules

PKGS := libprotobuf-c libevent libseccomp libcap-ng jansson
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS))
PKG_LIBS = $(shell pkg-config --libs $(PKGS))

WARN := -Wall -Wextra -Werror -Wshadow=local -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wno-format-nonliteral \
        -Wno-missing-field-initializers -Wno-unused-parameter
HARDEN := -fstack-protector-strong -fPIC -fno-strict-aliasing $(if $(SAN)$(DEBUG),,-D_FORTIFY_SOURCE=2)
OPT := $(if $(DEBUG),-O0 -g3,$(if $(SAN),-O1 -g,-O2 -g))
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DGOFER_VERSION='"$(VERSION)"' -I. -I$(BUILD)/gen
ALL_CFLAGS = -std=gnu17 $(OPT) $(WARN) $(HARDEN) $(SANFLAGS) $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = $(SANFLAGS) -Wl,-z,relro,-z,now,--as-needed -pthread $(LDFLAGS)

GEN_C := $(BUILD)/gen/gofer.pb-c.c
GEN_H := $(BUILD)/gen/gofer.pb-c.h

COMMON_O := $(patsubst %.c,$(BUILD)/%.o,$(wildcard common/*.c))
PROTO_O := $(patsubst %.c,$(BUILD)/%.o,$(wildcard proto/*.c)) $(BUILD)/gen/gofer.pb-c.o
SERVER_O := $(patsubst %.c,$(BUILD)/%.o,$(wildcard server/*.c server/fs/*.c))
CLIENT_O := $(patsubst %.c,$(BUILD)/%.o,$(wildcard client/*.c))
CLI_O := $(patsubst %.c,$(BUILD)/%.o,$(wildcard client/cli/*.c))
UNIT_T := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c))
PROG_T := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/integration/*.c tests/stress/*.c tests/bench/*.c))
LIB_O := $(COMMON_O) $(PROTO_O)

.PHONY: all clean
all: $(BUILD)/gofer $(BUILD)/libgofer.a $(BUILD)/libgofer.so

$(GEN_H) $(GEN_C) &: proto/gofer.proto
	@mkdir -p $(BUILD)/gen
	$(Q)cd proto && protoc-c --c_out=$(abspath $(BUILD)/gen) gofer.proto

$(BUILD)/gen/%.o: $(BUILD)/gen/%.c
	$(Q)$(CC) $(CPPFLAGS) -std=gnu17 $(OPT) $(HARDEN) $(SANFLAGS) $(PKG_CFLAGS) -c $< -o $@

$(BUILD)/%.o: %.c $(GEN_H) Makefile
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC    $<")
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/gofer: $(CLI_O) $(SERVER_O) $(CLIENT_O) $(LIB_O)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) $^ $(ALL_LDFLAGS) $(PKG_LIBS) -o $@

$(BUILD)/libgofer.a: $(CLIENT_O) $(LIB_O)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/libgofer.so: $(CLIENT_O) $(LIB_O) client/libgofer.sym
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) -shared -Wl,-soname,libgofer.so.0 -Wl,--version-script=client/libgofer.sym $(filter %.o,$^) $(ALL_LDFLAGS) \
		$(shell pkg-config --libs libprotobuf-c) -o $@

# Unit tests: one Criterion program per file, linked with everything but the command.
$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(SERVER_O) $(CLIENT_O) $(LIB_O)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) $^ $(ALL_LDFLAGS) $(PKG_LIBS) -lcriterion -o $@

# Other test programs: plain main(), the same objects.
$(PROG_T): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(SERVER_O) $(CLIENT_O) $(LIB_O)
	@$(if $(V),,echo "  LINK  $@")
	$(Q)$(CC) $^ $(ALL_LDFLAGS) $(PKG_LIBS) -o $@

.PHONY: unit-programs test-programs
unit-programs: $(UNIT_T)
test-programs: $(PROG_T)

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
