# `heatkv plan`: no gRPC, so that it is tested alone.
heatkv_library(
  NAME heatkv_plan
  SRCS plan.cc plan_output.cc plan_report.cc
  DEPS heatkv_base heatkv_cache heatkv_calibration heatkv_model_api
       absl::status absl::statusor absl::strings absl::str_format
  PRIVATE_DEPS heatkv_config)
