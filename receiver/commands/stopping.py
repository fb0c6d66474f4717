"""Ending well when told to: SIGTERM and Ctrl-C become an event."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def stopping() -> Iterator[asyncio.Event]:
    """Give an event that SIGTERM and SIGINT set while inside."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Only a process' first thread hears signals; whoever runs a command in another stops it otherwise.
    numbers = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
