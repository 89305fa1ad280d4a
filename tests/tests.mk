# Tests and checks (included by Makefile; `make help` lists them).

UNIT := $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
$(B)/tests/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Itests -MMD -MP $(LDFLAGS) -o $@ $< $(LIB) $(PKG_LIBS) -lcmocka

# Everything a change must pass before it is landed. Each step is a make of its own, so that the first failure is the last line.
.PHONY: test
test: export TRB_NO_SKIP ?= $(if $(filter 0,$(shell id -u)),1)
test: deps ## builds with gcc and clang, unit and integration tests, short fuzz and crash runs, unit tests with ASan
	@$(MAKE) -s -j2 all unit-build VARIANT=gcc
	@$(MAKE) -s -j2 all unit-build VARIANT=clang
	@$(MAKE) -s unit VARIANT=gcc
	@$(MAKE) -s man-check
	@$(MAKE) -s integration
	@$(MAKE) -s fuzz FUZZ_SECONDS=3
	@$(MAKE) -s asan-unit
	@echo "make test: all passed"

.PHONY: unit unit-build
unit-build: $(UNIT)
unit: $(UNIT) ## the unit tests (VARIANT=asan|tsan|clang: others)
	@for t in $(UNIT); do echo "== $$t"; $$t >$$t.log 2>&1 || { cat $$t.log; exit 1; }; tail -1 $$t.log; done

# TRIBUTARY names the program under test, so that the same tests run a sanitizer's build.
.PHONY: integration
integration: $(BIN) demo-data ## real processes: pytest over tests/integration (T=expression chooses)
	TRIBUTARY=$(CURDIR)/$(BIN) /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/integration $(if $(T),-k "$(T)")

.PHONY: crash
CRASH_ROUNDS ?= 200
CRASH_SEED ?= 1
crash: $(BIN) ## kill -9 of hub and branches at random, 200 times, while writing
	TRIBUTARY=$(CURDIR)/$(BIN) /usr/bin/python3 tests/crash.py --rounds $(CRASH_ROUNDS) --seed $(CRASH_SEED)

# A daemon's report would be lost in its log, so reports go to files of their own, and one of them fails the run. Left out:
# test_capture_clients, which is about other programs' SQLite.
.PHONY: asan asan-unit tsan
SANITIZER_REPORTS = $(CURDIR)/build/$(1)/report
define no_reports
@! cat build/$(1)/report.* 2>/dev/null || { echo "build/$(1)/report.*: the sanitizer found something"; exit 1; }
endef
ASAN := detect_leaks=1:detect_stack_use_after_return=1
asan-unit:
	@$(MAKE) -s -j2 unit-build VARIANT=asan
	@ASAN_OPTIONS=$(ASAN) $(MAKE) -s unit VARIANT=asan
asan: asan-unit ## unit and integration tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) -s -j2 all VARIANT=asan
	@rm -f build/asan/report.*
	@ASAN_OPTIONS=$(ASAN):log_path=$(call SANITIZER_REPORTS,asan) $(MAKE) -s integration VARIANT=asan T="not capture_clients"
	$(call no_reports,asan)
TSAN := halt_on_error=1:exitcode=66:suppressions=$(CURDIR)/tests/tsan.supp
tsan: ## unit tests, and real processes (flow, enrolment, crash), under ThreadSanitizer
	@$(MAKE) -s -j2 all unit-build VARIANT=tsan
	@TSAN_OPTIONS=$(TSAN) $(MAKE) -s unit VARIANT=tsan
	@rm -f build/tsan/report.*
	@TSAN_OPTIONS=$(TSAN):log_path=$(call SANITIZER_REPORTS,tsan) $(MAKE) -s integration VARIANT=tsan T="flow or enrol or crash"
	$(call no_reports,tsan)

# tests/fuzz/fuzz_NAME.c defines LLVMFuzzerTestOneInput; seeds in tests/fuzz/seeds/NAME, finds in build/fuzz/finds.
FUZZ_SECONDS ?= $(or $(TIME),60)
FUZZ := $(patsubst tests/fuzz/%.c,build/fuzz/tests/%,$(wildcard tests/fuzz/fuzz_*.c))
build/fuzz/tests/fuzz_%: tests/fuzz/fuzz_%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Itests -MMD -MP $(LDFLAGS) -fsanitize=fuzzer -o $@ $< $(LIB) $(PKG_LIBS)
.PHONY: fuzz fuzz-build fuzz-run
fuzz: ## libFuzzer over every parser, FUZZ_SECONDS each
	@$(MAKE) -s -j2 fuzz-build VARIANT=fuzz
	@$(MAKE) -s fuzz-run VARIANT=fuzz
fuzz-build: $(FUZZ)
fuzz-run:
	@for f in $(FUZZ); do n=$${f##*/fuzz_}; mkdir -p build/fuzz/corpus/$$n build/fuzz/finds; echo "== fuzz $$n"; \
	  ASAN_OPTIONS=allocator_may_return_null=1 $$f -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -print_final_stats=0 \
	    -verbosity=0 -artifact_prefix=build/fuzz/finds/$$n- build/fuzz/corpus/$$n $$(ls -d tests/fuzz/seeds/$$n 2>/dev/null) >$$f.log 2>&1 || { tail -60 $$f.log; exit 1; }; done

# tests/bench/bench_NAME.c prints one JSON object a line.
BENCH := $(patsubst tests/bench/%.c,$(B)/bench/%,$(wildcard tests/bench/bench_*.c))
$(B)/bench/bench_%: tests/bench/bench_%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Itests -MMD -MP $(LDFLAGS) -o $@ $< $(LIB) $(PKG_LIBS) -lcmocka
.PHONY: bench-capture
bench-capture: $(B)/bench/bench_capture ## what capture costs a client's commit
	$<

# tests/unit/test_vectors.c holds the stored vectors against the codec, so rewriting them is a change of the protocol.
$(B)/vectors: tests/vectors.c $(LIB)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Itests -MMD -MP $(LDFLAGS) -o $@ $< $(LIB) $(PKG_LIBS)
.PHONY: vectors
vectors: $(B)/vectors ## rewrites the golden vectors of proto/vectors
	$(B)/vectors proto/vectors

.PHONY: bench
bench: $(BIN) $(BENCH) demo-data ## the figures of the README
	TRIBUTARY=$(CURDIR)/$(BIN) /usr/bin/python3 tests/bench/bench.py $(BENCH_FLAGS)

# ---- checks of the text ----
SOURCES = $(shell git ls-files -co --exclude-standard '*.c' '*.h' '*.cc')
.PHONY: fmt fmt-check lint man-check
fmt: ## clang-format over all sources
	clang-format -i $(SOURCES)
fmt-check: ## fails when a source is not formatted
	clang-format --dry-run -Werror $(SOURCES)
lint: compdb ## clang-tidy and cppcheck, both clean
	cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	  --suppressions-list=tests/cppcheck.supp -Iinclude -Iproto -D_GNU_SOURCE -DTRB_VERSION='"0"' \
	  '-Djson_array_foreach(a,i,v)=for(i=0;v;)' '-Djson_object_foreach(o,k,v)=for(k=0;v;)' -j2 common node
	printf '%s\n' $(C_SRC) node/cli/main.c | xargs -P2 -n8 clang-tidy --quiet -p .
man-check: $(BIN)
	@$(BIN) --man | cmp - deploy/man/tributary.1 || { echo "deploy/man/tributary.1 is not what the help texts say: run make man"; exit 1; }
