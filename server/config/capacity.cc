#include "server/config/capacity.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/readable_bytes.h"

namespace heatkv::server {

cache::CacheGeometry GeometryOf(const model::ModelSpec& spec,
                                CacheDtype dtype) {
  return {.layers = spec.transformer.depth,
          .heads = spec.transformer.heads,
          .head_width = spec.transformer.head_width(),
          .bytes_per_value = dtype == CacheDtype::kFloat32 ? 4 : 2};
}

absl::StatusOr<std::int64_t> PoolBlocks(const PoolSize& pool,
                                        std::int64_t device_bytes,
                                        const cache::CacheGeometry& geometry) {
  const std::int64_t bytes = pool.Resolve(device_bytes);
  const std::int64_t blocks = bytes / geometry.block_bytes();
  if (blocks < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the pool of ", bytes, " bytes is less than one block of ",
                     geometry.block_bytes(), " bytes"));
  }
  if (blocks > 0x7fffffff) {
    return absl::InvalidArgumentError(
        absl::StrCat("the pool of ", bytes, " bytes has ", blocks,
                     " blocks, more than ", 0x7fffffff));
  }
  return blocks;
}

std::string DescribeCapacity(const model::ModelSpec& spec,
                             const ScheduleBook& book,
                             std::int64_t pool_blocks) {
  std::string text;
  const std::int64_t pool_bytes = pool_blocks * book.geometry().block_bytes();
  for (std::size_t l = 0; l < spec.ladders.size(); ++l) {
    const model::LadderSpec& ladder = spec.ladders[l];
    const cache::Grid last = ladder.ladder.grid(ladder.ladder.num_scales() - 1);
    for (std::size_t t = 0; t < book.tiers().size(); ++t) {
      const TierPlan& plan = book.plan(l, t);
      const cache::Trajectory& image = *plan.guided;
      absl::StrAppend(&text, "pool ", ReadableBytes(pool_bytes), " holds ",
                      pool_blocks / image.peak_blocks(), " ",
                      book.tiers()[t].name, " images at ",
                      last.width * spec.pixels_per_token(), "x",
                      last.height * spec.pixels_per_token(), " with guidance (",
                      ReadableBytes(image.peak_bytes()), " each, ",
                      absl::StrFormat("%.1f %%", 100.0 * image.peak_bytes() /
                                                     image.full_cache_bytes()),
                      " of the full cache), or ",
                      pool_blocks / plan.unguided->peak_blocks(), " without\n");
    }
  }
  return text;
}

}  // namespace heatkv::server
