"""Runs moto's server on a port of 127.0.0.1 until standard input closes: the owner is gone then, in whatever way.

usage: launcher.py HOME REMOVE PORT [option of moto_server ..]; REMOVE is 1 to take HOME away at such an end
"""
import os
import shutil
import sys
import threading

home, remove, port = sys.argv[1:4]


def end_with_standard_input():
    try:
        # Not by sys.stdin: its lock would be held at an end by other means.
        while os.read(0, 4096):
            pass
    except OSError:
        pass  # as good as the end
    try:
        if remove == "1":
            shutil.rmtree(home, ignore_errors=True)
    finally:
        os._exit(0)


threading.Thread(target=end_with_standard_input, daemon=True).start()

from moto.server import main  # after the watch: this takes seconds

main(["-H", "127.0.0.1", "-p", port, *sys.argv[4:]])
