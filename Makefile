# Tributary. `make help` lists the targets. Everything is built under build/$(VARIANT).
SHELL := /bin/bash
.DEFAULT_GOAL := all
comma := ,

VERSION := 0.1.0
VARIANT ?= gcc
B := build/$(VARIANT)
CC_gcc := gcc
CC_clang := clang
CC_asan := clang
CC_tsan := clang
CC_fuzz := clang
CC := $(CC_$(VARIANT))
CXX := $(if $(filter clang,$(CC)),clang++,g++)

# Debian 12 packages. msgpack's pkg-config name changed with its version 6.
MSGPACK := $(firstword $(foreach p,msgpack-c msgpack,$(shell pkg-config --exists $(p) 2>/dev/null && echo $(p))))
PKGS := libzmq sqlite3 $(MSGPACK) libcrypto libzstd libxxhash icu-uc icu-i18n jansson inih libsystemd
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lphonenumber -lstdc++ -lpthread -lm

WARN := -Wall -Wextra -Werror -Wconversion -Wshadow -Wformat=2 -Wvla
CWARN := $(WARN) -Wstrict-prototypes -Wmissing-prototypes
OPT_gcc := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong
OPT_clang := $(OPT_gcc)
OPT_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan := -O1 -g -fsanitize=thread
OPT_fuzz := -O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize=vptr -fno-sanitize-recover=all -DTRB_FUZZ
OPT := $(OPT_$(VARIANT))
CPPFLAGS := -Iinclude -Iproto -I$(B)/gen -D_GNU_SOURCE -DTRB_VERSION='"$(VERSION)"' $(PKG_CFLAGS)
CFLAGS := -std=c11 $(OPT) $(CWARN) -fPIE
# vptr needs the C++ sanitizer runtime, and the program is linked as C.
CXXFLAGS := -std=c++17 $(OPT) -fno-sanitize=vptr $(WARN) -fPIE
LDFLAGS := -pie -Wl,-z,relro,-z,now $(filter -fsanitize=%,$(subst ${comma}fuzzer-no-link,,$(OPT)))

C_SRC := $(filter-out node/cli/main.c,$(wildcard common/*.c node/*/*.c node/*/*/*.c))
CC_SRC := $(wildcard common/*.cc)
SQL_SRC := $(wildcard node/sql/*.sql)
LIB_OBJ := $(C_SRC:%.c=$(B)/%.o) $(CC_SRC:%.cc=$(B)/%.o) $(SQL_SRC:%.sql=$(B)/%.sql.o)
LIB := $(B)/libtributary.a
BIN := $(B)/tributary

.PHONY: all
all: $(BIN) ## the program, build/gcc/tributary (VARIANT=clang|asan|tsan: others)

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

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# ---- packages: what building needs, and what testing needs on top ----
PACKAGES := build-essential pkg-config libzmq3-dev libmsgpack-dev libsqlite3-dev libssl-dev libjansson-dev libinih-dev \
  libsystemd-dev libicu-dev libzstd-dev libxxhash-dev libphonenumber-dev sqlite3 python3
TEST_PACKAGES := clang clang-format clang-tidy cppcheck libclang-rt-14-dev libcmocka-dev python3-pytest python3-zmq \
  python3-msgpack python3-nacl python3-cryptography python3-zstandard python3-xxhash man-db systemd libsqlcipher-dev sqlcipher
APT := $(if $(filter 0,$(shell id -u)),,sudo) env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=500
define install_missing
@missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q '^install ok' || echo $$p; done); \
if [ -n "$$missing" ]; then echo "installing: "$$missing; \
  $(APT) install -y --no-install-recommends $$missing || { $(APT) update && $(APT) install -y --no-install-recommends $$missing; }; fi
endef
.PHONY: deps build-deps
deps: ## installs the missing Debian packages (with sudo when not root)
	$(call install_missing,$(PACKAGES) $(TEST_PACKAGES))
build-deps:
	$(call install_missing,$(PACKAGES))

# ---- demo: the packages come first, and the flags they bring are read by a make of its own ----
.PHONY: demo run-demo demo-data
demo: build-deps ## a hub and four branches on this machine, sample data, narrated (under a minute)
	@$(MAKE) -s -j2 all demo-data
	@$(BIN) demo --data build/demo $(DEMO_FLAGS)
demo-data: build/demo/made
build/demo/made: tests/data/generate_zh.py tests/data/split_source.py tests/data/chicago.map tests/data/chicago_early_childhood.csv
	@mkdir -p $(@D)
	/usr/bin/python3 tests/data/generate_zh.py --customers 5000 --branches 4 --seed 7 --out $(@D)
	/usr/bin/python3 tests/data/split_source.py tests/data/chicago_early_childhood.csv $(@D)
	cp tests/data/chicago.map $(@D)
	@touch $@

include tests/tests.mk

# ---- install ----
PREFIX ?= /usr/local
UNITDIR ?= $(PREFIX)/lib/systemd/system
UNITS := $(wildcard deploy/systemd/*)
.PHONY: install
install: all ## to DESTDIR and PREFIX (/usr/local): program, man page, units, sample configuration
	install -Dm755 $(BIN) $(DESTDIR)$(PREFIX)/bin/tributary
	install -Dm644 deploy/man/tributary.1 $(DESTDIR)$(PREFIX)/share/man/man1/tributary.1
	install -d $(DESTDIR)$(UNITDIR)
	for u in $(UNITS); do sed 's|/usr/bin/tributary|$(PREFIX)/bin/tributary|' $$u > $(DESTDIR)$(UNITDIR)/$${u##*/} || exit 1; done
	install -Dm644 deploy/sysusers.d/tributary.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/tributary.conf
	install -Dm644 -t $(DESTDIR)$(PREFIX)/share/doc/tributary README.md LICENSE CHANGELOG deploy/sample/*

.PHONY: man
man: $(BIN) ## deploy/man/tributary.1 from the help texts
	@mkdir -p deploy/man
	$(BIN) --man > deploy/man/tributary.1
.PHONY: tables
tables: $(B)/tests/test_catalogue ## proto/TABLES.md from proto/catalogue.def (a unit test says when it is stale)
	$< --write-docs > proto/TABLES.md
.PHONY: compdb
compdb: ## compile_commands.json for editors and clang-tidy
	@{ echo '['; for f in $(C_SRC) node/cli/main.c; do \
	  printf '%s{"directory":"%s","file":"%s","command":"%s"}\n' "$$sep" "$(CURDIR)" "$$f" \
	    '$(subst ",\\\",$(subst ',,$(CC) $(CPPFLAGS) $(CFLAGS))) -c '"$$f"; sep=,; done; echo ']'; } > compile_commands.json
.PHONY: clean
clean: ## removes everything that was built
	rm -rf build compile_commands.json
.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
