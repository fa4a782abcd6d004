"""The client of the server: the copy inside a built extension, or the one of this checkout."""

import importlib.util
import sys
from pathlib import Path


def _load_client():
    name = f"{__package__}._client"
    folder = Path(__file__).with_name("_client")
    if not folder.is_dir():
        folder = Path(__file__).parents[4] / "src" / "segscope" / "client"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if not (folder / "__init__.py").is_file() or spec is None or spec.loader is None:
        raise ImportError(
            "the client of segscope is missing; load this module from a checkout, or build the "
            "extension"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its relative imports look it up there
    spec.loader.exec_module(module)
    return module


_client = _load_client()
Client = _client.Client
LabelMap = _client.LabelMap
LeaseExpired = _client.LeaseExpired
NotReachable = _client.NotReachable
RemoteSession = _client.RemoteSession
ServerError = _client.ServerError
