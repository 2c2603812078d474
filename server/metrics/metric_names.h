// Every metric that the server exports: its name, its help text and, where it
// is a histogram, its buckets.  Base units, no label that grows with requests.

#ifndef SERVER_METRICS_METRIC_NAMES_H_
#define SERVER_METRICS_METRIC_NAMES_H_

namespace heatkv::server::metric {

struct Description {
  const char* name;
  const char* help;
};

// The pool of a device.  used + free = effective limit, which is the limit
// unless that was lowered below what running images need; capacity is what was
// allocated and never changes.
inline constexpr Description kPoolBytes = {
    "heatkv_kv_pool_bytes",
    "Bytes of the key-value pool by state: used holds tokens, free is the rest "
    "of the limit in force. What running images may still come to hold is "
    "planned exactly and not set aside."};
inline constexpr Description kPoolCapacityBytes = {
    "heatkv_kv_pool_capacity_bytes",
    "Bytes that were allocated for the key-value pool at the start."};
inline constexpr Description kPoolLimitBytes = {
    "heatkv_kv_pool_limit_bytes",
    "Bytes of the key-value pool that the configuration grants."};
inline constexpr Description kPoolEffectiveLimitBytes = {
    "heatkv_kv_pool_effective_limit_bytes",
    "The limit in force: more than the configured one while images that "
    "started under a larger one need it to finish."};
inline constexpr Description kPoolPeakSumBytes = {
    "heatkv_kv_pool_peak_sum_bytes",
    "What the running images may each still come to hold, added up. May exceed "
    "the limit, because they do not peak together."};
inline constexpr Description kPoolHighWaterBytes = {
    "heatkv_kv_pool_high_water_bytes",
    "The most bytes of the key-value pool that were ever used at once."};
inline constexpr Description kCacheBytes = {
    "heatkv_cache_bytes",
    "Bytes of keys and values that a head holds now, over all images. The sum "
    "over all heads is the used part of the pool."};
inline constexpr Description kPlanErrorBytes = {
    "heatkv_plan_error_bytes",
    "Bytes in use minus the bytes that the schedules planned. Anything but 0 "
    "is a bug."};

inline constexpr Description kMemoryPlannedBytes = {
    "heatkv_memory_planned_bytes",
    "What each part of the server was planned to take of a device's memory at "
    "the start; part \"left\" is what nothing was planned for."};

// Requests.
inline constexpr Description kRequests = {
    "heatkv_requests_total",
    "Finished calls by method, gRPC status code and tier (empty if the call "
    "named none that exists)."};
inline constexpr Description kImages = {"heatkv_images_total",
                                        "Images by tier and gRPC status code."};
inline constexpr Description kRequestDuration = {
    "heatkv_request_duration_seconds",
    "From the arrival of a successful call to its last image, by tier."};
inline constexpr Description kStageDuration = {
    "heatkv_stage_duration_seconds",
    "Time in a stage: queue and text a request; scales, decode and encode an "
    "image."};
inline constexpr Description kScaleDuration = {
    "heatkv_scale_duration_seconds",
    "Time of one scale (counted from 1) of one image."};
inline constexpr Description kStepImages = {
    "heatkv_step_images", "Images that were computed together in one step."};
inline constexpr Description kFirstPicture = {
    "heatkv_first_picture_seconds",
    "From the arrival of a request to its first preview, or its first image if "
    "it had no previews."};
inline constexpr Description kCancelToRelease = {
    "heatkv_cancel_to_release_seconds",
    "From the moment when a request was over before its last image until all "
    "its blocks were back in the pool, by cause."};
inline constexpr Description kRefusals = {
    "heatkv_refusals_total", "Requests that were not taken, by reason."};
inline constexpr Description kLowerTier = {
    "heatkv_lower_tier_total",
    "Requests that started on a lower tier than they asked for, as their "
    "clients had allowed."};
inline constexpr Description kTenantByteSeconds = {
    "heatkv_tenant_byte_seconds_total",
    "Bytes of cache times seconds that a tenant was charged for the images it "
    "started; \"other\" are those that the configuration does not name."};
inline constexpr Description kRequestsRunning = {
    "heatkv_requests_running", "Requests with an image in the making."};
inline constexpr Description kImagesRunning = {"heatkv_images_running",
                                               "Images in the making."};
inline constexpr Description kRequestsWaiting = {
    "heatkv_requests_waiting", "Requests that wait for room in the pool."};
inline constexpr Description kWaitingBytes = {
    "heatkv_waiting_bytes",
    "Bytes of cache that the waiting images will hold at their peaks."};
inline constexpr Description kOldestWait = {
    "heatkv_queue_oldest_age_seconds",
    "How long the first request of the queue has waited."};
inline constexpr Description kDraining = {
    "heatkv_draining", "1 while the server takes no requests, else 0."};
inline constexpr Description kModelUp = {
    "heatkv_model_up",
    "1 while the model can compute, 0 while it cannot and is tried again (of "
    "several devices: while one can)."};
// Of each of several devices.
inline constexpr Description kDeviceImagesRunning = {
    "heatkv_device_images_running", "Images in the making on a device."};
inline constexpr Description kDeviceUp = {
    "heatkv_device_up",
    "1 while the model on a device can compute, 0 while it cannot: it starts "
    "no images then, as long as another one can."};
inline constexpr Description kBuild = {
    "heatkv_build_info",
    "1; the labels name the server's version, the model it serves, and the "
    "SHA-256 of its weights or that they are random."};

inline constexpr double kRequestBuckets[] = {0.05, 0.1, 0.25, 0.5, 1,  2,
                                             4,    8,   16,   32,  64, 128};
inline constexpr double kStageBuckets[] = {0.001, 0.003, 0.01, 0.03, 0.1,
                                           0.3,   1,     3,    10,   30};
inline constexpr double kScaleBuckets[] = {0.001, 0.005, 0.02, 0.1, 0.5, 2};
inline constexpr double kStepImagesBuckets[] = {1, 2, 4, 8, 16};
inline constexpr double kFirstPictureBuckets[] = {0.02, 0.05, 0.1, 0.2, 0.5, 1,
                                                  2,    5,    10,  20,  60};
inline constexpr double kReleaseBuckets[] = {
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10};

}  // namespace heatkv::server::metric

#endif  // SERVER_METRICS_METRIC_NAMES_H_
