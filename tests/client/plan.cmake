heatkv_test(NAME plan_test SRCS plan_test.cc DEPS heatkv_plan heatkv_cache_cases)
