"""``p2pal doctor``: probes gather facts about server, relays and network; a pure judge says what they mean."""
