"""Native code that dies: CPU libraries of llama.cpp, and Python packages, whose first call is no instruction.

It owns the sources and their compilation; which tests plant what is theirs. A CPU that shows an instruction
set which its system withholds does the same to real ones.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ILLEGAL = """
#if defined(__x86_64__) || defined(__i386__)
#define DIE __asm__ volatile("ud2")
#else
#define DIE __builtin_trap()
#endif
"""
"""What the Intel SDM guarantees to be no instruction."""
LIBRARY = """
int ggml_backend_score(void) { if (DIES_AT_SCORE) { DIE; } return SCORE; }
void *ggml_backend_init(void) { if (DIES_AT_INIT) { DIE; } static int there; return &there; }
"""
SHOWN = """
#include <dlfcn.h>
int ggml_backend_score(void) { return 1000000; }
void *ggml_backend_init(void) {
  void *(*init)(void) = dlsym(dlopen(REAL, RTLD_NOW), "ggml_backend_init");
  return init();
}
"""
ALLOWED = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <sys/syscall.h>
#define ARCH_REQ_XCOMP_PERM 0x1023
long syscall(long number, ...) {
  long words[6];
  va_list given;
  va_start(given, number);
  for (int word = 0; word < 6; word++) words[word] = va_arg(given, long);
  va_end(given);
  if (number == SYS_arch_prctl && words[0] == ARCH_REQ_XCOMP_PERM) return 0;
  long (*real)(long, ...) = dlsym(RTLD_NEXT, "syscall");
  return real(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}
"""
PROGRAM = """
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **words) {
  char folder[4096], path[8192], best[8192] = "";
  folder[readlink("/proc/self/exe", folder, sizeof folder - 1)] = 0;
  *strrchr(folder, '/') = 0;
  int highest = 0;
  DIR *entries = opendir(folder);
  for (struct dirent *entry; (entry = readdir(entries));) {
    if (strncmp(entry->d_name, "libggml-cpu-", 12)) continue;
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    int (*score)(void) = dlsym(dlopen(path, RTLD_NOW), "ggml_backend_score");
    if (score() > highest) { highest = score(); strcpy(best, path); }
  }
  if (!highest) { fprintf(stderr, "no backend\\n"); return 1; }
  void *(*init)(void) = dlsym(dlopen(best, RTLD_NOW), "ggml_backend_init");
  init();
  for (int word = 1; word < count; word++)
    if (!strcmp(words[word], "-m") && access(words[word + 1], R_OK)) { fprintf(stderr, "no model\\n"); return
    1; }
  printf("%s\\n", best);
  return 0;
}
"""
"""llama.cpp's way of choosing a CPU library (ggml/src/ggml-backend-reg.cpp, `ggml_backend_load_best`)."""


def compile_library(path: Path, source: str, **values: int) -> None:
    """Compile a shared library; each value is a macro.

    Raises:
        subprocess.CalledProcessError: The compiler refuses it.
    """
    _compile(path, source, "-shared", "-fPIC", *(f"-D{name}={value}" for name, value in values.items()))


def plant_variant(folder: Path, name: str, score: int, *, dies: str = "") -> None:
    """Put a CPU library into a folder of llama.cpp's programs.

    Args:
        folder: The folder.
        name: Between `libggml-cpu-` and `.so`.
        score: What it says that it is worth here.
        dies: `score` or `init`: the call that is no instruction; "" for neither.
    """
    compile_library(
        folder / f"libggml-cpu-{name}.so",
        LIBRARY,
        SCORE=score,
        DIES_AT_SCORE=int(dies == "score"),
        DIES_AT_INIT=int(dies == "init"),
    )


def plant_withheld(folder: Path, variant: str) -> Path:
    """Have a real CPU library of a build picked, as if CPUID showed what it needs and the kernel allowed it.

    Args:
        folder: The build's programs.
        variant: File name of the library.

    Returns:
        What LD_PRELOAD must be: it answers yes when llama.cpp asks for AMX (ggml-cpu/amx/amx.cpp,
        `ggml_amx_init`).
    """
    compile_library(folder / "libggml-cpu-shown.so", f'#define REAL "{folder / variant}"\n{SHOWN}')
    allowed = folder.parent / "allowed.so"
    compile_library(allowed, ALLOWED)
    return allowed


def stand_in_build(folder: Path, programs: tuple[str, ...] = ("llama-bench", "llama-server")) -> None:
    """Make programs that load a CPU library as llama.cpp's do, say which on standard output, and end."""
    folder.mkdir(parents=True)
    for name in programs:
        _compile(folder / name, PROGRAM, "-ldl")


def plant_package(folder: Path, name: str, code: str) -> Path:
    """Make a Python package whose `die()` is no instruction, and whose further content is `code`.

    Returns:
        What PYTHONPATH must begin with.
    """
    package = folder / name
    package.mkdir(parents=True)
    compile_library(package / "native.so", "void die(void) { DIE; }")
    begin = (
        "import ctypes, pathlib\ndie = ctypes.CDLL(str(pathlib.Path(__file__).with_name('native.so'))).die\n"
    )
    (package / "__init__.py").write_text(begin + code, encoding="utf-8")
    return folder


def path_with(folder: Path) -> str:
    """Return PYTHONPATH with a folder before what it has."""
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", str(Path(__file__).parents[1]))])


def _compile(path: Path, source: str, *options: str) -> None:
    command = ["cc", "-x", "c", "-O1", "-o", str(path), "-", *options]
    subprocess.run(command, input=ILLEGAL + source, text=True, check=True, capture_output=True)
