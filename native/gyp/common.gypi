{
  # What node-gyp reads from the folder of Node's headers (--nodedir), so that it downloads none: the
  # headers themselves come from node-api-headers. The flags are CMake's for a release.
  "target_defaults": {
    "default_configuration": "Release",
    "configurations": {
      "Release": {
        "defines": ["NDEBUG"],
        "cflags": ["-O3"],
        "xcode_settings": { "GCC_OPTIMIZATION_LEVEL": "3" }
      },
      "Debug": {
        "cflags": ["-g", "-O0"],
        "xcode_settings": { "GCC_OPTIMIZATION_LEVEL": "0" }
      }
    },
    "cflags": ["-pthread"],
    "ldflags": ["-pthread"],
    "xcode_settings": {
      "MACOSX_DEPLOYMENT_TARGET": "12.0",
      "GCC_SYMBOLS_PRIVATE_EXTERN": "YES"
    }
  }
}
