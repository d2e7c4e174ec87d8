// Windows only: the functions of Node-API are imported from `node.exe`, whatever the program that loaded
// the addon is called.
#include <windows.h>

#include <delayimp.h>
#include <string.h>

static FARPROC WINAPI running_program(unsigned event, DelayLoadInfo* info) {
  if (event != dliNotePreLoadLibrary || _stricmp(info->szDll, "node.exe") != 0) return nullptr;
  return reinterpret_cast<FARPROC>(GetModuleHandle(nullptr));
}

decltype(__pfnDliNotifyHook2) __pfnDliNotifyHook2 = running_program;
