#include "server/config/capacity.h"

#include <algorithm>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
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

namespace {

// "1024x1024", width first
std::string SizeOf(const model::ModelSpec& spec,
                   const model::LadderSpec& ladder) {
  const cache::Grid last = ladder.ladder.grid(ladder.ladder.num_scales() - 1);
  return absl::StrCat(last.width * spec.pixels_per_token(), "x",
                      last.height * spec.pixels_per_token());
}

}  // namespace

std::int64_t AutomaticPoolBlocks(const model::ModelSpec& spec,
                                 const ScheduleBook& book,
                                 absl::string_view tier, int images,
                                 std::int64_t left_bytes, std::int64_t least) {
  const std::optional<int> number = book.FindTier(tier);
  HEATKV_CHECK(number.has_value()) << tier;
  std::int64_t peak = 0;
  for (int ladder = 0; ladder < static_cast<int>(spec.ladders.size());
       ++ladder) {
    peak = std::max<std::int64_t>(
        peak, book.plan(ladder, *number).guided->peak_blocks());
  }
  const std::int64_t room = left_bytes / 10 * 9 / book.geometry().block_bytes();
  return std::max(least, std::min(images * peak, room));
}

std::string DescribeShortage(const model::ModelSpec& spec,
                             const ScheduleBook& book, absl::string_view tier,
                             std::int64_t pool_blocks) {
  const std::optional<int> number = book.FindTier(tier);
  HEATKV_CHECK(number.has_value()) << tier;
  const cache::Trajectory& image = *book.plan(0, *number).guided;
  if (image.peak_blocks() <= pool_blocks) return "";
  return absl::StrCat(
      "the pool has ",
      ReadableBytes(pool_blocks * book.geometry().block_bytes()),
      ", but an image of ", SizeOf(spec, spec.ladders[0]), " on tier \"", tier,
      "\" under guidance needs ", ReadableBytes(image.peak_bytes()));
}

std::string DescribeCapacity(const model::ModelSpec& spec,
                             const ScheduleBook& book,
                             std::int64_t pool_blocks) {
  std::string text;
  const std::int64_t pool_bytes = pool_blocks * book.geometry().block_bytes();
  for (std::size_t l = 0; l < spec.ladders.size(); ++l) {
    const model::LadderSpec& ladder = spec.ladders[l];
    for (std::size_t t = 0; t < book.tiers().size(); ++t) {
      const TierPlan& plan = book.plan(l, t);
      const cache::Trajectory& image = *plan.guided;
      absl::StrAppend(&text, "pool ", ReadableBytes(pool_bytes), " holds ",
                      pool_blocks / image.peak_blocks(), " ",
                      book.tiers()[t].name, " images at ", SizeOf(spec, ladder),
                      " with guidance (", ReadableBytes(image.peak_bytes()),
                      " each, ",
                      absl::StrFormat("%.1f %%", 100.0 * image.peak_bytes() /
                                                     image.full_cache_bytes()),
                      " of the full cache), or ",
                      pool_blocks / plan.unguided->peak_blocks(), " without\n");
    }
  }
  return text;
}

}  // namespace heatkv::server
