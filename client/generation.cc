#include "client/generation.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "client/durations.h"
#include "client/picture_files.h"
#include "client/request_fields.h"
#include "grpcpp/client_context.h"

namespace heatkv::client {
namespace {

using nlohmann::ordered_json;

ordered_json ToJson(const v1::Recipe& recipe) {
  ordered_json json = {{"model", recipe.model()},
                       {"model_sha256", recipe.model_sha256()},
                       {"schedule_sha256", recipe.schedule_sha256()},
                       {"tier", recipe.tier()},
                       {"budget", recipe.budget()},
                       {"prompt", recipe.prompt()},
                       {"seed", recipe.seed()},
                       {"aspect", recipe.aspect()},
                       {"pixel_class", recipe.pixel_class()},
                       {"width", recipe.width()},
                       {"height", recipe.height()},
                       {"guidance", recipe.guidance()},
                       {"tau", recipe.tau()},
                       {"top_p", recipe.top_p()},
                       {"format", FormatName(recipe.format())}};
  if (recipe.quality() != 0) json["quality"] = recipe.quality();
  json["server_version"] = recipe.server_version();
  return json;
}

ordered_json ToJson(const v1::Usage& usage) {
  return {{"queue_seconds", Seconds(usage.queue())},
          {"text_seconds", Seconds(usage.text())},
          {"scales_seconds", Seconds(usage.scales())},
          {"decode_seconds", Seconds(usage.decode())},
          {"encode_seconds", Seconds(usage.encode())},
          {"total_seconds", Seconds(usage.total())},
          {"peak_cache_bytes", usage.peak_cache_bytes()},
          {"full_cache_bytes", usage.full_cache_bytes()},
          {"text_was_cached", usage.text_was_cached()}};
}

using Reader = grpc::ClientReaderInterface<v1::GenerateImageEvent>;

// Reads the events of one call to its end.
Generated ReadToEnd(
    grpc::ClientContext* context, Reader* reader,
    const std::filesystem::path& out, int images,
    const std::function<void(const v1::GenerateImageEvent&)>& on_event) {
  Generated result;
  const auto write = [&](const std::filesystem::path& file,
                         const std::string& bytes) {
    const absl::Status written = WriteFile(file, bytes);
    if (!written.ok() && result.file_status.ok()) {
      result.file_status = written;
      context->TryCancel();
    }
  };
  v1::GenerateImageEvent event;
  while (reader->Read(&event)) {
    on_event(event);
    if (event.has_accepted()) {
      result.request_id = event.accepted().request_id();
      result.asked_tier = event.accepted().tier();
    } else if (event.has_started()) {
      result.granted_tier = event.started().tier();
    } else if (event.has_preview()) {
      const v1::Preview& preview = event.preview();
      write(PreviewFile(PictureFile(out, preview.image_index(), images),
                        preview.scale(), preview.format()),
            preview.data());
    } else if (event.has_image()) {
      v1::Image& image = *event.mutable_image();
      const std::filesystem::path file =
          PictureFile(out, image.index(), images);
      write(file, image.data());
      image.clear_data();
      result.pictures.push_back({file, std::move(image)});
    } else if (event.has_completed()) {
      result.usage = event.completed().usage();
    }
  }
  result.status = reader->Finish();
  std::sort(result.pictures.begin(), result.pictures.end(),
            [](const auto& a, const auto& b) {
              return a.image.index() < b.image.index();
            });
  return result;
}

void SetTimeout(absl::Duration timeout, grpc::ClientContext* context) {
  if (timeout == absl::InfiniteDuration()) return;
  context->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
}

}  // namespace

Generated Generate(
    const Connection& connection, const v1::GenerateImageRequest& request,
    const std::filesystem::path& out, absl::Duration timeout,
    const std::function<void(const v1::GenerateImageEvent&)>& on_event) {
  grpc::ClientContext context;
  SetTimeout(timeout, &context);
  const int images =
      std::max<int>({1, static_cast<int>(request.n()), request.seeds_size()});
  const auto reader = connection.stub().GenerateImageStream(&context, request);
  return ReadToEnd(&context, reader.get(), out, images, on_event);
}

Generated WatchJob(
    const Connection& connection, const std::string& job_id,
    std::uint64_t after, const std::filesystem::path& out, int images,
    absl::Duration timeout,
    const std::function<void(const v1::GenerateImageEvent&)>& on_event) {
  grpc::ClientContext context;
  SetTimeout(timeout, &context);
  v1::WatchImageJobRequest request;
  request.set_job_id(job_id);
  request.set_after_sequence(after);
  const auto reader = connection.stub().WatchImageJob(&context, request);
  return ReadToEnd(&context, reader.get(), out, images, on_event);
}

ordered_json ToJson(const Generated& generated) {
  ordered_json images = ordered_json::array();
  for (const Generated::Picture& picture : generated.pictures) {
    images.push_back({{"file", picture.file.string()},
                      {"sha256", picture.image.sha256()},
                      {"recipe", ToJson(picture.image.recipe())}});
  }
  return {{"request_id", generated.request_id},
          {"tier", generated.granted_tier},
          {"images", std::move(images)},
          {"usage", ToJson(generated.usage)}};
}

}  // namespace heatkv::client
