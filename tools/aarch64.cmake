# aarch64.cmake: builds for 64-bit ARM on another Linux machine, and runs what it has built by QEMU.
# Debian's packages: gcc-aarch64-linux-gnu, qemu-user-static, and the libraries of the architecture
# arm64; tools/check_aarch64.sh installs them. IGN_QEMU_CPU is the processor that QEMU pretends.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(IGN_QEMU_CPU max CACHE STRING "QEMU's -cpu for the tests")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -cpu ${IGN_QEMU_CPU})
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
