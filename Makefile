# Tributary. `make help` lists the targets. Everything is built under build/$(VARIANT).
SHELL := /bin/bash
.DEFAULT_GOAL := all

VARIANT ?= gcc
B := build/$(VARIANT)
CC_gcc := gcc
CC_clang := clang
CC_asan := clang
CC_tsan := clang
CC_fuzz := clang
CC := $(CC_$(VARIANT))
CXX := $(if $(filter clang,$(CC)),clang++,g++)

# Debian 12 packages (dependencies.md, M2: msgpack's pkg-config name changed with version 6).
MSGPACK := $(firstword $(foreach p,msgpack-c msgpack,$(shell pkg-config --exists $(p) 2>/dev/null && echo $(p))))
PKGS := libzmq sqlite3 $(MSGPACK) libcrypto libzstd libxxhash icu-uc icu-i18n jansson inih libsystemd
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lphonenumber -lstdc++ -lpthread -lm

WARN := -Wall -Wextra -Werror -Wconversion -Wshadow -Wformat=2 -Wvla
CWARN := $(WARN) -Wstrict-prototypes -Wmissing-prototypes
OPT_gcc := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong
OPT_clang := $(OPT_gcc)
OPT_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan := -O1 -g -fsanitize=thread
OPT_fuzz := -O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all -DTRB_FUZZ
OPT := $(OPT_$(VARIANT))
VERSION := 0.1.0
CPPFLAGS := -Iinclude -Iproto -I$(B)/gen -D_GNU_SOURCE -DTRB_VERSION='"$(VERSION)"' $(PKG_CFLAGS)
CFLAGS := -std=c11 $(OPT) $(CWARN) -fPIE
CXXFLAGS := -std=c++17 $(OPT) $(WARN) -fPIE
LDFLAGS := -pie -Wl,-z,relro,-z,now $(filter -fsanitize=%,$(subst ${comma}fuzzer-no-link,,$(OPT)))

C_SRC := $(filter-out node/cli/main.c,$(wildcard common/*.c node/*/*.c node/*/*/*.c))
CC_SRC := $(wildcard common/*.cc)
SQL_SRC := $(wildcard node/sql/*.sql)
LIB_OBJ := $(C_SRC:%.c=$(B)/%.o) $(CC_SRC:%.cc=$(B)/%.o) $(SQL_SRC:%.sql=$(B)/%.sql.o)
LIB := $(B)/libtributary.a
BIN := $(B)/tributary
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))

.PHONY: all
all: $(BIN)

$(BIN): $(B)/node/cli/main.o $(LIB)
	$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)
$(LIB): $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(B)/%.o: %.cc
	@mkdir -p $(@D)
	$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<
# node/sql/NAME.sql becomes `const char trb_sql_NAME[]`.
$(B)/%.sql.c: %.sql
	@mkdir -p $(@D)
	@{ printf 'extern const char trb_sql_%s[];\nconst char trb_sql_%s[] =\n' $(notdir $*) $(notdir $*); \
	   sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/  "/' -e 's/$$/\\n"/' $<; echo ';'; } > $@
$(B)/%.sql.o: $(B)/%.sql.c
	$(CC) -std=c11 $(OPT) -fPIE -c -o $@ $<
.PRECIOUS: $(B)/%.sql.c

$(B)/tests/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Itests -MMD -MP $(LDFLAGS) -o $@ $< $(LIB) $(PKG_LIBS) -lcmocka

.PHONY: unit
unit: $(UNIT)
	@for t in $(UNIT); do echo "== $$t"; $$t || exit 1; done

-include $(shell find $(B) -name '*.d' 2>/dev/null)

.PHONY: fmt
fmt:
	git ls-files -co --exclude-standard '*.c' '*.h' '*.cc' | xargs clang-format -i
.PHONY: clean
clean:
	rm -rf build
