"""Readiness means warm: the model has computed before anybody may ask."""

import re


def events(server):
    return re.findall(r" event=(\w+)", server.log.read_text())


def test_the_model_is_warm_before_the_server_is_ready(start):
    order = [
        event for event in events(start())
        if event in ("memory", "model_loaded", "memory_once_loaded", "warm",
                     "memory_once_warm", "ready")
    ]
    assert order == [
        "memory", "model_loaded", "memory_once_loaded", "warm",
        "memory_once_warm", "ready",
    ]


def test_a_configuration_may_do_without(start):
    cold, warm = start("warm_up: false\n"), start("warm_up: true\n")
    assert "not_warmed" in events(cold) and "warm" not in events(cold)
    assert "warm" in events(warm) and "not_warmed" not in events(warm)
    pictures = [
        server.generate("a red fox", seed=7).images[0].data
        for server in (cold, warm)
    ]
    assert pictures[0] == pictures[1]
