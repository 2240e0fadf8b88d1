"""Starts a worker; the executor passes the descriptors of requests and answers."""

import sys


def _start() -> None:
    # A bare module with a path: importing importlib.util would cost as much as all the rest.
    folder = __file__.rpartition("/")[0]
    if folder in sys.path:
        sys.path.remove(folder)
    package = type(sys)("_batchwright_node")
    package.__path__ = [folder]
    sys.modules[package.__name__] = package
    from _batchwright_node.worker import serve  # pyright: ignore

    serve(int(sys.argv[1]), int(sys.argv[2]))  # pyright: ignore[reportUnknownArgumentType]


# Processes that a job spawns import this file under another name.
if __name__ == "__main__":
    _start()
