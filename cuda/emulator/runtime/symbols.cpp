#include "emulator/runtime/symbols.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <link.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace komt::emulator {

namespace {

struct Module {
  std::string path;
  std::uintptr_t base = 0;
};

Module module_of(const void* address) {
  struct Search {
    std::uintptr_t address;
    Module found;
  } search{reinterpret_cast<std::uintptr_t>(address), {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto& wanted = *static_cast<Search*>(data);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& header = info->dlpi_phdr[i];
          if (header.p_type != PT_LOAD) continue;
          const std::uintptr_t begin = info->dlpi_addr + header.p_vaddr;
          if (wanted.address < begin || wanted.address >= begin + header.p_memsz) continue;
          const bool is_program = info->dlpi_name == nullptr || *info->dlpi_name == '\0';
          wanted.found = {is_program ? "/proc/self/exe" : info->dlpi_name, info->dlpi_addr};
          return 1;
        }
        return 0;
      },
      &search);
  return search.found;
}

using SymbolTable = std::unordered_map<std::uintptr_t, std::string>;

// Functions by address, of the full symbol table: kernels have internal linkage, so the dynamic one
// doesn't have them.
SymbolTable read_symbols(const std::string& path) {
  SymbolTable table;
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> image{std::istreambuf_iterator<char>(file), {}};
  ElfW(Ehdr) header;
  if (image.size() < sizeof(header)) return table;
  std::memcpy(&header, image.data(), sizeof(header));
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return table;
  const auto section = [&](std::size_t i) {
    ElfW(Shdr) result{};
    const std::size_t at = header.e_shoff + i * header.e_shentsize;
    if (i < header.e_shnum && at + sizeof(result) <= image.size()) {
      std::memcpy(&result, image.data() + at, sizeof(result));
    }
    return result;
  };
  for (std::size_t i = 0; i < header.e_shnum; ++i) {
    const auto symbols = section(i);
    if (symbols.sh_type != SHT_SYMTAB) continue;
    const auto names = section(symbols.sh_link);
    if (symbols.sh_offset + symbols.sh_size > image.size() ||
        names.sh_offset + names.sh_size > image.size()) {
      continue;
    }
    for (std::size_t at = 0; at + sizeof(ElfW(Sym)) <= symbols.sh_size; at += sizeof(ElfW(Sym))) {
      ElfW(Sym) symbol;
      std::memcpy(&symbol, image.data() + symbols.sh_offset + at, sizeof(symbol));
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_name >= names.sh_size) continue;
      table.try_emplace(symbol.st_value, image.data() + names.sh_offset + symbol.st_name);
    }
  }
  return table;
}

std::string demangle(const std::string& name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  const std::string result = status == 0 ? text : name;
  std::free(text);
  return result;
}

std::string hexadecimal(std::uintptr_t x) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%" PRIxPTR, x);
  return text;
}

}  // namespace

std::string function_name(const void* address) {
  static std::mutex mutex;
  static auto& tables = *new std::map<std::string, SymbolTable>;  // never destroyed: read at exit
  const Module module = module_of(address);
  const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(address) - module.base;
  const std::lock_guard lock(mutex);
  auto [table, is_new] = tables.try_emplace(module.path);
  if (is_new) table->second = read_symbols(module.path);
  const auto symbol = table->second.find(offset);
  return symbol != table->second.end() ? demangle(symbol->second) : hexadecimal(offset);
}

std::string source_line(const void* address) {
  const Module module = module_of(address);
  const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(address) - module.base - 1;
  char path[4096];
  if (realpath(module.path.c_str(), path) == nullptr) return hexadecimal(offset);
  const std::string place = std::string(path) + "+" + hexadecimal(offset);
  if (std::strchr(path, '\'') != nullptr) return place;
  const std::string command =
      "addr2line -i -e '" + std::string(path) + "' " + hexadecimal(offset) + " 2>/dev/null";
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return place;
  // Inlined frames come innermost first; what the kernel's author wrote is the first that isn't the
  // emulator's or the vocabulary's own.
  std::string best;
  char line[4096];
  while (std::fgets(line, sizeof(line), pipe) != nullptr) {
    std::string text(line, std::strcspn(line, "\n"));
    text = text.substr(0, text.find(" (discriminator"));
    if (text.starts_with("??") || text.ends_with(":?")) continue;
    const bool is_own = text.find("/emulator/device/") != std::string::npos ||
                        text.find("/emulator/ptx/") != std::string::npos ||
                        text.find("/cuda/common/") != std::string::npos;
    if (best.empty() || !is_own) best = text;
    if (!is_own) break;
  }
  pclose(pipe);
  return best.empty() ? place : best;
}

}  // namespace komt::emulator
