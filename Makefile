# Builds, installs and tests dms_refs with PGXS:
#
#     make PG_CONFIG=/path/to/pg_config && make install && make installcheck
#
# installcheck (pg_regress, isolation, TAP) and pgtap need the extension installed and a running server;
# unit needs neither; tempcheck runs all suites on a private server, with nothing installed anywhere.
# A build outside the tree works too: make -f /path/to/dms_refs/Makefile

EXTENSION = dms_refs
MODULE_big = dms_refs

here := $(patsubst %/,%,$(dir $(firstword $(MAKEFILE_LIST))))
listed = $(shell grep -v '^\#' $(here)/$(1))

# sources.list, the two schedule.list and the folders under test/ are what meson.build reads too.
DATA := $(notdir $(wildcard $(here)/dms_refs--*.sql))
OBJS := $(patsubst %.cpp,%.o,$(call listed,sources.list))

REGRESS := $(call listed,sql/schedule.list)
ISOLATION := $(call listed,test/isolation/schedule.list)
ISOLATION_OPTS = --inputdir=$(here)/test/isolation
PROVE_TESTS ?= $(patsubst $(here)/%,%,$(sort $(wildcard $(here)/test/tap/*.pl)))
PGTAP_TESTS ?= $(sort $(wildcard $(here)/test/pgtap/*.sql))
ifneq ($(PROVE_TESTS),)
TAP_TESTS = 1
endif

PG_CONFIG ?= pg_config
# Server headers are foreign code: -isystem keeps their warnings out. PGDLLEXPORT is empty in 15's headers,
# which under -fvisibility=hidden would hide the magic block.
PG_CPPFLAGS = -I$(here)/src -isystem $(shell $(PG_CONFIG) --includedir-server) \
	'-DPGDLLEXPORT=__attribute__((visibility("default")))' -MMD -MP
PG_CXXFLAGS = -std=c++20 -fno-exceptions -fno-rtti -fvisibility=hidden \
	-Wall -Wextra -Wno-unused-parameter $(if $(WERROR),-Werror)
EXTRA_CLEAN = $(OBJS:.o=.d) build/unit build/tempcheck

# core/ has assert(), the rest the server's Assert(): both check where the server is built with assertions. Spans then check
# their bounds as well, by way of the C++ runtime, which is else not needed.
ifneq ($(findstring --enable-cassert,$(shell $(PG_CONFIG) --configure)),)
PG_CPPFLAGS += -D_GLIBCXX_ASSERTIONS
SHLIB_LINK += -lstdc++
else
PG_CPPFLAGS += -DNDEBUG
endif
# PGXS does not hand PG_CXXFLAGS to its bitcode rules.
override with_llvm = no
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(firstword $(MAKEFILE_LIST))
# make would find the folders by way of VPATH, so no rule can make them.
$(shell mkdir -p $(sort $(dir $(OBJS))))

# Unit tests of core/: no server, address and undefined-behaviour sanitizers.
unit_sources := $(sort $(wildcard $(here)/test/unit/*.cpp $(here)/src/core/*.cpp))
unit_objects := $(patsubst $(here)/%.cpp,build/unit/%.o,$(unit_sources))
unit_flags = -std=c++20 -g -O1 -Wall -Wextra -D_GLIBCXX_ASSERTIONS -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -I$(here)/src -MMD -MP $(if $(WERROR),-Werror)

build/unit/%.o: $(here)/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(unit_flags) -c -o $@ $<

build/unit/unit: $(unit_objects)
	$(CXX) $(unit_flags) -o $@ $^ -lgtest -lgtest_main -lpthread

.PHONY: unit pgtap tempcheck format
unit: build/unit/unit
	build/unit/unit

pgtap:
	pg_prove --ext .sql $(PGTAP_TESTS)

tempcheck: all
	$(MAKE) -f $(firstword $(MAKEFILE_LIST)) install DESTDIR='$(CURDIR)/build/tempcheck/dest'
	$(here)/tools/run-tests --pg-config '$(PG_CONFIG)' --dest '$(CURDIR)/build/tempcheck/dest' \
		--work '$(CURDIR)/build/tempcheck' $(SUITES)

format:
	clang-format -i $(sort $(wildcard $(here)/src/*.cpp $(here)/src/*/*.?pp $(here)/test/unit/*.?pp))

-include $(OBJS:.o=.d) $(unit_objects:.o=.d)
