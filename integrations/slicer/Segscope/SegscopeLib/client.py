"""The client of the server: the copy that a built extension carries along, or the one of this checkout."""

import importlib.util
import sys
from pathlib import Path


def _found():
    name, beside = f"{__package__}._client", Path(__file__).with_name("_client")
    folder = (
        beside if beside.is_dir() else Path(__file__).parents[4] / "src" / "segscope" / "client"
    )
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if not (folder / "__init__.py").is_file() or spec is None or spec.loader is None:
        raise ImportError(
            "the client of segscope is not here; use this module from a checkout, or build the extension"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that its own relative imports find it
    spec.loader.exec_module(module)
    return module


_client = _found()
Canvas, Client, Session = _client.Canvas, _client.Client, _client.Session
LeaseExpired, NotReachable, ServerError = (
    _client.LeaseExpired,
    _client.NotReachable,
    _client.ServerError,
)
