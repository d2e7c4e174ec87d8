# native/sources.json, the one list of sources for CMake and node-gyp.
get_filename_component(komt_root ${CMAKE_CURRENT_LIST_DIR}/.. ABSOLUTE)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${komt_root}/native/sources.json)
file(READ ${komt_root}/native/sources.json komt_sources_json)

# Sets `out` to the absolute paths of a group's files.
function(komt_sources out group)
  string(JSON count LENGTH ${komt_sources_json} ${group})
  set(files "")
  if(count GREATER 0)
    math(EXPR last "${count} - 1")
    foreach(i RANGE ${last})
      string(JSON file GET ${komt_sources_json} ${group} ${i})
      list(APPEND files ${komt_root}/${file})
    endforeach()
  endif()
  set(${out} ${files} PARENT_SCOPE)
endfunction()
