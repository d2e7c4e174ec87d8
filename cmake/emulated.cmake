# The addon with the CUDA backend and its kernels compiled for cuda/emulator: every test that a GPU can
# run, on any machine.
add_subdirectory(cuda/emulator)
target_sources(komt_emulated PRIVATE ${cuda_host_sources} ${addon_cuda_sources})
komt_add_emulated_kernels(komt_emulated ${cuda_kernel_sources})
target_include_directories(komt_emulated PRIVATE cuda)
target_compile_definitions(komt_core PRIVATE KOMT_WITH_CUDA KOMT_CUDA_EMULATED)
target_include_directories(komt_core PRIVATE cuda)
target_compile_definitions(komt_emulated PRIVATE
  KOMT_WITH_CUDA KOMT_CUDA_ARCHITECTURES="emulated")
