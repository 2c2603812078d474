#include "server/config/capacity.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace heatkv::server {
namespace {

std::string Readable(std::int64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat(unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

}  // namespace

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
      absl::StrAppend(&text, "pool ", Readable(pool_bytes), " holds ",
                      pool_blocks / image.peak_blocks(), " ",
                      book.tiers()[t].name, " images at ",
                      last.width * spec.pixels_per_token(), "x",
                      last.height * spec.pixels_per_token(), " with guidance (",
                      Readable(image.peak_bytes()), " each, ",
                      absl::StrFormat("%.1f %%", 100.0 * image.peak_bytes() /
                                                     image.full_cache_bytes()),
                      " of the full cache), or ",
                      pool_blocks / plan.unguided->peak_blocks(), " without\n");
    }
  }
  return text;
}

}  // namespace heatkv::server
