#include "model/cuda/work_arena.h"

#include <ATen/ATen.h>
#include <ATen/core/CachingHostAllocator.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>

#include "absl/cleanup/cleanup.h"

namespace heatkv::model {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

// cuBLAS keeps a work space for every stream that a thread has used it on.  It
// is not to lie in the middle of the arena.
void SetUpProducts(const at::TensorOptions& options) {
  const at::Tensor x = at::zeros({16, 16}, options);
  const at::Tensor bias = at::zeros({16}, options);
  at::mm(x, x);
  at::addmm(bias, x, x);
}

// `later` comes behind what is enqueued on `earlier`.
void Order(c10::cuda::CUDAEvent& event, const c10::cuda::CUDAStream& earlier,
           const c10::cuda::CUDAStream& later) {
  if (earlier == later) return;
  event.record(earlier);
  event.block(later);
}

}  // namespace

WorkArena::WorkArena()
    : device_(c10::cuda::current_device()),
      stream_(c10::cuda::getStreamFromPool()),
      pool_(at::cuda::graph_pool_handle()) {
  // The allocator is there once somebody has asked it for something.
  at::empty({1}, at::TensorOptions(at::kByte).device(at::kCUDA, device_));
  // Holds the pools, which do not come back once nobody does: there may be no
  // recording yet, or none any more.
  allocator::createOrIncrefPool(device_, pool_);
  at::HostAllocator& host = *at::getHostAllocator(at::kCUDA);
  host.begin_allocate_to_pool(pool_, [](c10::Stream) { return false; });
  host.end_allocate_to_pool(pool_);
}

WorkArena::~WorkArena() {
  allocator::releasePool(device_, pool_);
  at::getHostAllocator(at::kCUDA)->release_pool(pool_);
}

void WorkArena::Reserve(std::int64_t bytes) {
  const c10::cuda::CUDAStreamGuard guard(stream_);
  Open();
  const auto close = absl::MakeCleanup([this] { Close(); });
  // Given back at once, and the pool's from then on.
  at::empty({bytes}, at::TensorOptions(at::kByte).device(at::kCUDA, device_));
}

void WorkArena::SetUpLibraries() {
  if (set_up_for_ == std::this_thread::get_id()) return;
  const at::TensorOptions options =
      at::TensorOptions().device(at::kCUDA, device_);
  SetUpProducts(options.dtype(at::kBFloat16));
  SetUpProducts(options.dtype(at::kFloat));
  set_up_for_ = std::this_thread::get_id();
}

void WorkArena::Open() {
  allocator::beginAllocateToPool(
      device_, pool_, [mine = stream_.stream()](cudaStream_t stream) {
        return stream == mine;
      });
  is_open_ = true;
}

void WorkArena::Close() {
  allocator::endAllocateToPool(device_, pool_);
  // beginAllocateToPool has counted one more user.
  allocator::releasePool(device_, pool_);
  is_open_ = false;
}

void WorkArena::Abandon(at::cuda::CUDAGraph& graph) {
  try {
    graph.capture_end();
    return;
  } catch (const c10::Error&) {
    // The first failure is the one to tell.
  }
  // A capture that something has broken ends without closing its pools, and
  // keeps them.
  try {
    Close();
  } catch (const c10::Error&) {
    // It had not come so far, or farther.
  }
  at::HostAllocator& host = *at::getHostAllocator(at::kCUDA);
  try {
    host.end_allocate_to_pool(pool_);
    host.release_pool(pool_);
  } catch (const c10::Error&) {
    // The same.
  }
}

WorkArena::Use::Use(WorkArena& arena)
    : arena_(arena),
      is_outermost_(!arena.is_open_),
      outer_(c10::cuda::getCurrentCUDAStream(arena.device_)),
      guard_(arena.stream_) {
  if (!is_outermost_) return;
  Order(arena_.entered_, outer_, arena_.stream_);
  arena_.SetUpLibraries();
  arena_.Open();
}

WorkArena::Use::~Use() {
  if (!is_outermost_) return;
  arena_.Close();  // which fails by a bug of ours alone
  try {
    Order(arena_.left_, arena_.stream_, outer_);
  } catch (const c10::Error&) {
    // The device has failed, which the next call on any stream will say.
  }
}

WorkArena::Pause::Pause(WorkArena& arena) : arena_(arena) { arena_.Close(); }

WorkArena::Pause::~Pause() { arena_.Open(); }

at::Tensor Borrowed(const at::Tensor& tensor) {
  return at::for_blob(tensor.mutable_data_ptr(), tensor.sizes())
      .strides(tensor.strides())
      .options(tensor.options())
      .target_device(tensor.device())
      .make_tensor();
}

}  // namespace heatkv::model
