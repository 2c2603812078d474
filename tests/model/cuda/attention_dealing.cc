#include "tests/model/cuda/attention_dealing.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

namespace heatkv::model {

using kernels::AttentionShape;
using kernels::AttentionWorkLayout;

std::vector<std::int32_t> DealAttention(
    const AttentionShape& shape, std::span<const std::int32_t> key_begin) {
  const auto keys = [&](int sequence) {
    return key_begin[sequence + 1] - key_begin[sequence];
  };
  std::vector<int> order(shape.sequences());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return keys(a) > keys(b); });

  struct Tile {
    int sequence;
    int tile;
  };
  std::vector<std::vector<Tile>> blocks(shape.blocks);
  std::vector<std::int32_t> dealt;
  using Cost = std::pair<std::int64_t, int>;  // and block
  std::priority_queue<Cost, std::vector<Cost>, std::greater<>> costs;
  for (int block = 0; block < shape.blocks; ++block) costs.emplace(0, block);
  for (const int sequence : order) {
    for (int tile = 0; tile < shape.tiles(); ++tile) {
      const auto [cost, block] = costs.top();
      costs.pop();
      costs.emplace(cost + kernels::TileCost(keys(sequence)), block);
      dealt.push_back(static_cast<std::int32_t>(blocks[block].size()) *
                          kernels::kMostAttentionBlocks +
                      block);
      blocks[block].push_back({sequence, tile});
    }
  }

  const AttentionWorkLayout layout(shape);
  std::vector<std::int32_t> list(layout.size());
  std::int32_t at = 0;
  for (int block = 0; block < shape.blocks; ++block) {
    list[layout.begin() + block] = at;
    for (const Tile& tile : blocks[block]) {
      list[layout.tile() + at] = tile.tile;
      list[layout.query_begin() + at] =
          tile.sequence / shape.heads * shape.tokens;
      list[layout.head() + at] = tile.sequence % shape.heads;
      list[layout.queries() + at] = shape.tokens;
      list[layout.key_begin() + at] = key_begin[tile.sequence];
      list[layout.keys() + at] = keys(tile.sequence);
      ++at;
    }
  }
  list[layout.begin() + shape.blocks] = at;
  std::copy(order.begin(), order.end(), list.begin() + layout.order());
  std::copy(dealt.begin(), dealt.end(), list.begin() + layout.dealt());
  return list;
}

std::vector<std::int64_t> BlockCosts(const AttentionShape& shape,
                                     std::span<const std::int32_t> list) {
  const AttentionWorkLayout layout(shape);
  std::vector<std::int64_t> costs(shape.blocks);
  for (int block = 0; block < shape.blocks; ++block) {
    for (int at = list[layout.begin() + block];
         at < list[layout.begin() + block + 1]; ++at) {
      costs[block] += kernels::TileCost(list[layout.keys() + at]);
    }
  }
  return costs;
}

}  // namespace heatkv::model
