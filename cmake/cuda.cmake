# CUDA is found, not demanded: gives the addon its CUDA backend where there is a toolkit.
set(KOMT_WITH_CUDA OFF)

# nvcc from CUDACXX, CUDA_HOME, PATH, then the usual places.
if(NOT KOMT_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  if(NOT DEFINED ENV{CUDACXX} AND NOT CMAKE_CUDA_COMPILER)
    find_program(nvcc_found nvcc
      HINTS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin
      PATHS /usr/local/cuda/bin /opt/cuda/bin)
    if(nvcc_found)
      set(CMAKE_CUDA_COMPILER ${nvcc_found})
    endif()
  endif()
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(KOMT_WITH_CUDA ON)
  elseif(KOMT_CUDA STREQUAL "ON")
    message(FATAL_ERROR "KOMT_CUDA=ON, but no CUDA compiler was found. Set CUDACXX or CUDA_HOME.")
  else()
    message(STATUS "No CUDA toolkit found: the CPU backend only")
  endif()
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
    if(NOT smi_failed AND gpu_archs)
      string(REPLACE "." "" gpu_archs "${gpu_archs}")
      string(REPLACE "\n" ";" gpu_archs "${gpu_archs}")
      list(REMOVE_DUPLICATES gpu_archs)
      list(TRANSFORM gpu_archs REPLACE "^90$" "90a")
      list(TRANSFORM gpu_archs APPEND "-real")
      set(KOMT_CUDA_ARCHS "${gpu_archs}")
    else()
      set(KOMT_CUDA_ARCHS "80-real;90a-real;90-virtual")
    endif()
  endif()
  set(CMAKE_CUDA_ARCHITECTURES ${KOMT_CUDA_ARCHS})
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 17)
  find_package(CUDAToolkit REQUIRED)
  message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION} for ${KOMT_CUDA_ARCHS}")

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
