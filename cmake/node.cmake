# Node's side of an addon. KOMT_NODE_HEADERS are the include folders of node-api-headers and
# node-addon-api (tools/cmake.mjs names them); without them CMake builds the core alone.
include(CheckLinkerFlag)

function(komt_node_addon target)
  set_target_properties(${target} PROPERTIES PREFIX "" SUFFIX ".node")
  target_include_directories(${target} PRIVATE ${KOMT_NODE_HEADERS} native native/addon)
  target_compile_definitions(${target} PRIVATE
    NAPI_VERSION=8 NAPI_CPP_EXCEPTIONS NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
    KOMT_VERSION="${komt_version}")
  if(MSVC)
    # Windows links against an import library, made of the list of Node-API's functions, and must find
    # them in the running program whatever its name is.
    list(GET KOMT_NODE_HEADERS 0 node_api_headers)
    set(node_lib ${CMAKE_CURRENT_BINARY_DIR}/node.lib)
    string(TOLOWER ${CMAKE_CXX_COMPILER_ARCHITECTURE_ID} machine)
    execute_process(
      COMMAND ${CMAKE_AR} /nologo /def:${node_api_headers}/../def/node_api.def /out:${node_lib}
        /machine:${machine}
      COMMAND_ERROR_IS_FATAL ANY)
    target_sources(${target} PRIVATE native/addon/windows_delay_load.cpp)
    target_link_libraries(${target} PRIVATE ${node_lib} delayimp)
    target_link_options(${target} PRIVATE /DELAYLOAD:node.exe)
  elseif(APPLE)
    target_link_options(${target} PRIVATE -undefined dynamic_lookup)
  else()
    # A worker that ends must not unmap code its engine's thread may still be leaving.
    target_link_options(${target} PRIVATE -Wl,-z,nodelete)
    # A compiler newer than the system's libraries; not every distribution has them as archives.
    check_linker_flag(CXX -static-libstdc++ komt_static_libstdcxx)
    # Under sanitizers the C++ library is the one they watch.
    if(komt_static_libstdcxx AND NOT KOMT_SANITIZE)
      target_link_options(${target} PRIVATE -static-libstdc++ -static-libgcc)
    endif()
  endif()
endfunction()
