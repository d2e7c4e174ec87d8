# CUDA is found, not demanded. Sets KOMT_WITH_CUDA; komt_link_cuda(target) adds the backend.
set(KOMT_WITH_CUDA OFF)
function(komt_link_cuda target)
endfunction()
