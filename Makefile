# A thin front to CMake: make [PRESET], make test, make install, make clean.
# Presets (CMakePresets.json): release debug asan tsan coverage torture fuzz; `make PRESET-test`.
PRESETS := release debug asan tsan coverage torture fuzz
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
export CMAKE_GENERATOR ?= $(if $(shell command -v ninja),Ninja,Unix Makefiles)

.PHONY: all test install clean format $(PRESETS) $(PRESETS:%=%-test)

all: release

$(PRESETS):
	cmake --preset $@
	cmake --build --preset $@ -j $(JOBS)

$(PRESETS:%=%-test): %-test: %
	ctest --preset $*

test: release-test

install: release
	cmake --install build/release --prefix $(PREFIX)

clean:
	rm -rf build

format:
	tools/format.sh
