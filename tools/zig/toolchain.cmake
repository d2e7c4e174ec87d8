# Toolchain of the published addon: zig's clang and libc++, linked statically, against the symbols of an
# old glibc, so that one file loads wherever Node 20 does. tools/pack-platform.mjs brings the compiler
# and names it in the environment, for CMake reads this file again in probes that see no variables.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_CXX_COMPILER $ENV{KOMT_ZIG} c++)
# Probes that link would have zig compile another set of its libraries first, for a minute or two.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
find_program(CMAKE_AR ar)
find_program(CMAKE_RANLIB ranlib)
# RHEL 8's; Debian 11 and Ubuntu 20.04 have 2.31.
set(CMAKE_CXX_COMPILER_TARGET x86_64-linux-gnu.2.28)
# The host half of a kernel, for nvcc takes no libc++ on x86. It needs nothing of libstdc++:
# tools/release/addon-checks.mjs would find it.
set(CMAKE_CUDA_HOST_COMPILER g++)
# The runtime is linked by its target, with its path; what CMake adds by itself has none here.
set(CMAKE_CUDA_RUNTIME_LIBRARY None)
# zig's libraries come with more for debuggers than the addon is large, and with all their names: what
# is linked in must stay out of the way of Node's own libraries of the same names.
foreach(kind SHARED MODULE)
  set(CMAKE_${kind}_LINKER_FLAGS_INIT "-s -Wl,--version-script=${CMAKE_CURRENT_LIST_DIR}/exports.map")
endforeach()
