# Tests of server/rpc.
foreach(name outbox_test grpc_status_test reader_patience_test
             result_store_test)
  heatkv_test(NAME ${name} SRCS ${name}.cc DEPS heatkv_rpc)
endforeach()
foreach(name request_rules_test generation_call_test slow_reader_test
             job_book_test job_call_test)
  heatkv_test(NAME ${name} SRCS ${name}.cc DEPS heatkv_rpc
                                                heatkv_engine_fixture)
endforeach()
# Debian's gRPC is not built for the race detector, which then reports races
# between its threads.
if(NOT HEATKV_SANITIZE STREQUAL "thread")
  foreach(name rpc_test job_rpc_test rpc_shutdown_test admin_test)
    heatkv_test(NAME ${name} SRCS ${name}.cc DEPS heatkv_rpc
                                                  heatkv_engine_fixture)
  endforeach()
endif()
