# CUDA is found, not demanded: gives the addon its CUDA backend where there is a toolkit.
set(KOMT_WITH_CUDA OFF)

# nvcc from CUDACXX; from CUDA_HOME or CUDA_PATH, and then from nowhere else; from PATH, then the usual
# places. What is found must work: a toolkit that does not is an error here, of which tools/install.mjs
# makes a build without CUDA.
if(NOT KOMT_CUDA STREQUAL "OFF")
  set(searched "PATH, /usr/local/cuda and /opt/cuda")
  set(cuda_home "$ENV{CUDA_HOME}")
  if(cuda_home STREQUAL "")
    set(cuda_home "$ENV{CUDA_PATH}")
  endif()
  if(DEFINED ENV{CUDACXX})
    set(CMAKE_CUDA_COMPILER $ENV{CUDACXX})
  elseif(NOT cuda_home STREQUAL "")
    set(searched "${cuda_home}/bin (CUDA_HOME)")
    find_program(CMAKE_CUDA_COMPILER nvcc PATHS ${cuda_home}/bin NO_DEFAULT_PATH)
  else()
    find_program(CMAKE_CUDA_COMPILER nvcc PATHS /usr/local/cuda/bin /opt/cuda/bin
      NO_CMAKE_PATH NO_CMAKE_ENVIRONMENT_PATH NO_CMAKE_SYSTEM_PATH)
  endif()
  if(CMAKE_CUDA_COMPILER)
    set(KOMT_WITH_CUDA ON)
  elseif(KOMT_CUDA STREQUAL "ON")
    message(FATAL_ERROR "KOMT_CUDA=ON, but there is no nvcc in ${searched}. Set CUDACXX or CUDA_HOME.")
  else()
    message(STATUS "komt: no nvcc in ${searched}: the CPU backend only")
  endif()
else()
  message(STATUS "komt: KOMT_CUDA=OFF: the CPU backend only")
endif()

if(KOMT_WITH_CUDA)
  # Must be known before the language is enabled. The GPUs that are here; on a machine without one
  # Ampere (and Ada, which runs its code), Hopper and, for all later ones, PTX. Hopper's, for what is
  # compiled from Ampere's lacks the wait that programmatic dependent launch needs.
  if(KOMT_CUDA_ARCHS STREQUAL "")
    execute_process(
      COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
      OUTPUT_VARIABLE gpu_archs ERROR_QUIET RESULT_VARIABLE smi_failed
      OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(NOT smi_failed)
      string(REPLACE "." "" gpu_archs "${gpu_archs}")
      string(REPLACE "\n" ";" gpu_archs "${gpu_archs}")
      list(REMOVE_DUPLICATES gpu_archs)
      # The kernels need sm_80; GPUs before it are left to the default, which runs on none of them.
      list(FILTER gpu_archs EXCLUDE REGEX "^[1-7].$")
      list(TRANSFORM gpu_archs REPLACE "^90$" "90a")
      list(TRANSFORM gpu_archs APPEND "-real")
      set(KOMT_CUDA_ARCHS "${gpu_archs}")
    endif()
    if(KOMT_CUDA_ARCHS STREQUAL "")
      set(KOMT_CUDA_ARCHS "80-real;90a-real;90-virtual")
    endif()
  endif()
  set(CMAKE_CUDA_ARCHITECTURES ${KOMT_CUDA_ARCHS})
  message(STATUS "komt: CUDA with ${CMAKE_CUDA_COMPILER} for ${KOMT_CUDA_ARCHS}")
  # CMake words a compiler that refuses its host compiler as an error of its own; nvcc says it better.
  set(probe ${CMAKE_CURRENT_BINARY_DIR}/komt_nvcc_works)
  file(WRITE ${probe}.cu "__global__ void works() {}\n")
  if(DEFINED ENV{CUDAHOSTCXX})
    set(host_compiler -ccbin $ENV{CUDAHOSTCXX})
  endif()
  execute_process(
    COMMAND ${CMAKE_CUDA_COMPILER} ${host_compiler} -c ${probe}.cu -o ${probe}.o
    RESULT_VARIABLE nvcc_result OUTPUT_VARIABLE nvcc_output ERROR_VARIABLE nvcc_output)
  if(NOT nvcc_result EQUAL 0)
    message(FATAL_ERROR "${CMAKE_CUDA_COMPILER} does not compile (${nvcc_result}): ${nvcc_output}")
  endif()
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.2)
    message(FATAL_ERROR "CUDA ${CMAKE_CUDA_COMPILER_VERSION} is too old: 12.2 or newer is needed.")
  endif()
  set(CMAKE_CUDA_STANDARD 17)
  find_package(CUDAToolkit REQUIRED)

  # An object library, so that a changed definition of the addon does not recompile the kernels.
  add_library(komt_kernels OBJECT ${cuda_kernel_sources})
  target_include_directories(komt_kernels PUBLIC cuda)
  target_compile_options(komt_kernels PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:--threads=0 -Xcompiler=-fvisibility=hidden>)

  add_library(komt_cuda OBJECT ${cuda_host_sources})
  target_include_directories(komt_cuda PUBLIC native cuda ${CUDAToolkit_INCLUDE_DIRS})

  string(REPLACE ";" ", " archs "${KOMT_CUDA_ARCHS}")
  target_compile_definitions(komt_core PRIVATE KOMT_WITH_CUDA)
  target_sources(komt PRIVATE ${addon_cuda_sources})
  target_compile_definitions(komt PRIVATE KOMT_WITH_CUDA KOMT_CUDA_ARCHITECTURES="${archs}")
  target_link_libraries(komt PRIVATE komt_cuda komt_kernels CUDA::cudart_static)
endif()
