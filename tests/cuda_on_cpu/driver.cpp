// Stands in for libcuda.so.1 and for the CUDA runtime: device memory is the host's, and a launch
// runs the kernel, compiled by g++, before it returns. Only what CuPy calls is here.
//
// The functions cuNAME are found by CuPy's driver module in a library called libcuda.so.1. The
// wheel links the runtime statically: driver.py overwrites its cudaNAME with jumps to rt_cudaNAME.
#include "grid.hpp"

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

typedef int Status;
typedef void *Pointer;
typedef size_t Size;

#define API extern "C" __attribute__((visibility("default")))

enum {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  INVALID_DEVICE = 101,
  NOT_FOUND = 500,
  NOT_READY = 600,
  LAUNCH_FAILED = 719,
  COOPERATIVE_TOO_LARGE = 720
};

// ---------------------------------------------------------------- counters, read by driver.py

API long count_launches = 0, count_products = 0, count_sorts = 0, count_to_host = 0,
         count_to_device = 0, count_copies = 0, count_fills = 0, count_waits = 0,
         count_allocations = 0;

static std::map<std::string, long> launches_of;

static const unsigned MULTIPROCESSORS = 132, BLOCKS_EACH = 2; // an H100's

// ---------------------------------------------------------------- modules and launches

struct Module {
  void *library;
};

API const char *last_failure() { return grid::failure.c_str(); }
API void set_order(unsigned seed) { grid::seed = seed; }

API long launches_by_name(const char *name) { return launches_of[name]; }
API void clear_names() { launches_of.clear(); }
API const char *names_launched() {
  static std::string names;
  names.clear();
  for (auto &[name, n] : launches_of)
    if (n) names += name + " " + std::to_string(n) + "\n";
  return names.c_str();
}

API Status cuGetErrorName(Status error, const char **text) {
  *text = error == LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR";
  return SUCCESS;
}
API Status cuGetErrorString(Status error, const char **text) {
  *text = error == LAUNCH_FAILED ? grid::failure.c_str() : "an error of the stand-in driver";
  return SUCCESS;
}

API Status cuModuleLoadData(Pointer *module, const void *image) {
  const char *text = static_cast<const char *>(image);
  if (std::strncmp(text, "ONCPU:", 6)) return INVALID_VALUE;
  void *library = dlopen(text + 6, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    std::fprintf(stderr, "%s\n", dlerror());
    return INVALID_VALUE;
  }
  *module = new Module{library};
  return SUCCESS;
}
API Status cuModuleUnload(Pointer) { return SUCCESS; } // CuPy's caches hold its functions
API Status cuModuleGetFunction(Pointer *function, Pointer module, const char *name) {
  void *library = static_cast<Module *>(module)->library;
  void *entry = dlsym(library, (std::string("launch_") + name).c_str());
  if (!entry) return NOT_FOUND;
  auto *kernel = new grid::Kernel{name, reinterpret_cast<grid::Entry>(entry)};
  kernel->waits = *static_cast<int *>(dlsym(library, "kernel_waits"));
  kernel->checked = *static_cast<int *>(dlsym(library, "kernel_checked"));
  char **shared = static_cast<char **>(dlsym(library, "kernel_shared"));
  kernel->shared = shared[0], kernel->shared_end = shared[1];
  *function = kernel;
  return SUCCESS;
}
API Status cuModuleGetGlobal_v2(Pointer *address, Size *bytes, Pointer module, const char *name) {
  *address = dlsym(static_cast<Module *>(module)->library, name);
  if (bytes) *bytes = 0;
  return *address ? SUCCESS : NOT_FOUND;
}

static Status launch(Pointer function, const unsigned *size, unsigned shared, Pointer *arguments,
                     bool together) {
  auto *kernel = static_cast<grid::Kernel *>(function);
  count_launches++;
  launches_of[kernel->name]++;
  const unsigned long blocks = (unsigned long)size[0] * size[1] * size[2];
  if (together && blocks > MULTIPROCESSORS * BLOCKS_EACH) return COOPERATIVE_TOO_LARGE;
  return grid::run(*kernel, size, shared, arguments, together) ? SUCCESS : LAUNCH_FAILED;
}
API Status cuLaunchKernel(Pointer f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                          unsigned by, unsigned bz, unsigned shared, Pointer, Pointer *arguments,
                          Pointer *) {
  const unsigned size[] = {gx, gy, gz, bx, by, bz};
  return launch(f, size, shared, arguments, false);
}
API Status cuLaunchCooperativeKernel(Pointer f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                     unsigned by, unsigned bz, unsigned shared, Pointer,
                                     Pointer *arguments) {
  const unsigned size[] = {gx, gy, gz, bx, by, bz};
  return launch(f, size, shared, arguments, true);
}
API Status cuFuncGetAttribute(int *value, int attribute, Pointer) {
  *value = attribute == 0 ? 1024 : attribute == 4 ? 32 : 0; // threads a block; registers
  return SUCCESS;
}
API Status cuFuncSetAttribute(Pointer, int, int) { return SUCCESS; }
API Status cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, Pointer, int, Size) {
  *n = BLOCKS_EACH;
  return SUCCESS;
}
API Status cuOccupancyMaxPotentialBlockSize(int *blocks, int *threads, Pointer, Pointer, Size,
                                            int) {
  *blocks = MULTIPROCESSORS;
  *threads = 512;
  return SUCCESS;
}

// ---------------------------------------------------------------- one context

static int context;
API Status cuCtxGetCurrent(Pointer *c) { return *c = &context, SUCCESS; }
API Status cuCtxSetCurrent(Pointer) { return SUCCESS; }
API Status cuCtxCreate_v2(Pointer *c, unsigned, int) { return *c = &context, SUCCESS; }
API Status cuCtxDestroy_v2(Pointer) { return SUCCESS; }
API Status cuCtxGetDevice(int *d) { return *d = 0, SUCCESS; }
API Status cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API Status cuStreamGetCtx(Pointer, Pointer *c) { return *c = &context, SUCCESS; }

// ---------------------------------------------------------------- the runtime: one device

API Status rt_cudaDriverGetVersion(int *v) { return *v = 13000, SUCCESS; }
API Status rt_cudaRuntimeGetVersion(int *v) { return *v = 13000, SUCCESS; }
API Status rt_cudaGetDeviceCount(int *n) { return *n = 1, SUCCESS; }
API Status rt_cudaGetDevice(int *d) { return *d = 0, SUCCESS; }
API Status rt_cudaSetDevice(int d) { return d ? INVALID_DEVICE : SUCCESS; }
API Status rt_cudaGetLastError() { return SUCCESS; }
API Status rt_cudaPeekAtLastError() { return SUCCESS; }
API Status rt_cudaDeviceGetAttribute(int *value, int attribute, int) {
  static const std::map<int, int> values = {{1, 1024},
                                            {2, 1024},
                                            {3, 1024},
                                            {4, 64},
                                            {5, INT32_MAX},
                                            {6, 65535},
                                            {7, 65535},
                                            {8, 49152},
                                            {10, 32},
                                            {12, 65536},
                                            {16, (int)MULTIPROCESSORS},
                                            {38, 50 << 20},
                                            {39, 2048},
                                            {75, 9},
                                            {76, 0},
                                            {81, 233472},
                                            {95, 1},
                                            {97, 232448},
                                            {115, 1}};
  auto found = values.find(attribute);
  *value = found == values.end() ? 0 : found->second;
  return SUCCESS;
}
API Status rt_cudaGetDeviceProperties(char *p, int) { // the offsets of CUDA 13's cudaDeviceProp
  std::memset(p, 0, 700);
  std::strcpy(p, "CPU in place of a GPU");
  *(Size *)(p + 288) = 80ull << 30;
  *(Size *)(p + 296) = 49152;
  *(int *)(p + 304) = 65536;
  *(int *)(p + 308) = 32;
  *(int *)(p + 320) = 1024;
  return SUCCESS;
}

// ---------------------------------------------------------------- memory

static Status allocate(Pointer *p, Size n) {
  const Size whole = (n + 1023) / 512 * 512; // half a kilobyte past the end is nobody's
  if (whole > Size(8) << 30 || !(*p = std::aligned_alloc(512, whole))) return OUT_OF_MEMORY;
  std::memset(*p, 0xff, n); // NaN, and -1: whoever reads what was never written shall see it
  grid::allocated[(uintptr_t)*p] = n;
  count_allocations++;
  return SUCCESS;
}
static Status release(Pointer p) {
  grid::allocated.erase((uintptr_t)p);
  std::free(p);
  return SUCCESS;
}
API Status rt_cudaMalloc(Pointer *p, Size n) { return allocate(p, n); }
API Status rt_cudaFree(Pointer p) { return release(p); }
API Status rt_cudaMallocAsync(Pointer *p, Size n, Pointer) { return allocate(p, n); }
API Status rt_cudaFreeAsync(Pointer p, Pointer) { return release(p); }
API Status rt_cudaHostAlloc(Pointer *p, Size n, unsigned) {
  return (*p = std::aligned_alloc(512, (n + 1023) / 512 * 512)) ? SUCCESS : OUT_OF_MEMORY;
}
API Status rt_cudaFreeHost(Pointer p) { return std::free(p), SUCCESS; }
API Status rt_cudaMemGetInfo(Size *free, Size *total) {
  return *free = 78ull << 30, *total = 80ull << 30, SUCCESS;
}
API Status rt_cudaDeviceGetDefaultMemPool(Pointer *p, int) { return *p = std::malloc(8), SUCCESS; }
API Status rt_cudaDeviceGetMemPool(Pointer *p, int) { return *p = std::malloc(8), SUCCESS; }

struct Attributes {
  int type, device;
  Pointer on_device, on_host;
};
API Status rt_cudaPointerGetAttributes(Attributes *a, const Pointer p) {
  return *a = {2, 0, p, nullptr}, SUCCESS;
}

// Copies that a GPU may make later than others: with set_late(1) those to the device in a second
// stream are made when someone waits for them. They must themselves wait for earlier launches,
// since what these read may lie where the copy writes.

struct Copy {
  Pointer to;
  const void *from;
  Size bytes;
};
struct Event {
  Pointer stream;
  long launches;
};

static bool late = false;
static std::map<Pointer, std::vector<Copy>> copies_of; // by stream
static std::map<Pointer, long> waited_for;             // the launches that a stream waits for

API void finish_copies(Pointer stream) {
  for (auto &copy : copies_of[stream]) std::memmove(copy.to, copy.from, copy.bytes);
  copies_of[stream].clear();
}
static void finish_all_copies() {
  for (auto &[stream, copies] : copies_of) finish_copies(stream);
}
API void set_late(int on) {
  finish_all_copies();
  late = on;
}

static Status copy(Pointer to, const void *from, Size n, int kind, Pointer stream = nullptr) {
  (kind == 1 ? count_to_device : kind == 2 ? count_to_host : count_copies)++;
  if (late && stream && kind == 1) {
    if (waited_for[stream] < count_launches) {
      grid::failure = "a copy in a second stream that does not wait for earlier launches";
      return LAUNCH_FAILED;
    }
    copies_of[stream].push_back({to, from, n});
  } else {
    std::memmove(to, from, n);
  }
  return SUCCESS;
}
API Status rt_cudaMemcpy(Pointer to, const Pointer from, Size n, int kind) {
  count_waits += kind == 2;
  return copy(to, from, n, kind);
}
API Status rt_cudaMemcpyAsync(Pointer to, const Pointer from, Size n, int kind, Pointer stream) {
  return copy(to, from, n, kind, stream);
}
API Status rt_cudaMemset(Pointer p, int value, Size n) {
  return count_fills++, std::memset(p, value, n), SUCCESS;
}
API Status rt_cudaMemsetAsync(Pointer p, int value, Size n, Pointer) {
  return rt_cudaMemset(p, value, n);
}

// ---------------------------------------------------------------- streams and events

API Status rt_cudaDeviceSynchronize() { return count_waits++, finish_all_copies(), SUCCESS; }
API Status rt_cudaStreamSynchronize(Pointer s) { return count_waits++, finish_copies(s), SUCCESS; }
API Status rt_cudaStreamCreate(Pointer *s) { return *s = std::malloc(8), SUCCESS; }
API Status rt_cudaStreamCreateWithFlags(Pointer *s, unsigned) { return rt_cudaStreamCreate(s); }
API Status rt_cudaStreamCreateWithPriority(Pointer *s, unsigned, int) {
  return rt_cudaStreamCreate(s);
}
API Status rt_cudaStreamDestroy(Pointer) { return SUCCESS; }
API Status rt_cudaStreamQuery(Pointer) { return SUCCESS; }
API Status rt_cudaStreamWaitEvent(Pointer stream, Event *event, unsigned) {
  finish_copies(event->stream);
  waited_for[stream] = event->launches;
  return SUCCESS;
}
API Status rt_cudaStreamIsCapturing(Pointer, int *capturing) { return *capturing = 0, SUCCESS; }
API Status rt_cudaStreamGetDevice(Pointer, int *d) { return *d = 0, SUCCESS; }
API Status rt_cudaEventCreate(Event **e) { return *e = new Event{}, SUCCESS; }
API Status rt_cudaEventCreateWithFlags(Event **e, unsigned) { return rt_cudaEventCreate(e); }
API Status rt_cudaEventDestroy(Event *e) { return delete e, SUCCESS; }
API Status rt_cudaEventRecord(Event *e, Pointer stream) {
  return *e = {stream, count_launches}, SUCCESS;
}
API Status rt_cudaEventSynchronize(Event *e) {
  return count_waits++, finish_copies(e->stream), SUCCESS;
}
API Status rt_cudaEventQuery(Event *e) {
  return copies_of[e->stream].empty() ? SUCCESS : NOT_READY;
}
API Status rt_cudaEventElapsedTime(float *t, Pointer, Pointer) { return *t = 1, SUCCESS; }
