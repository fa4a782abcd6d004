"""The table of commands: routes, socket and description follow from it."""

from __future__ import annotations

import pytest

from segscope.serve.api.command_schemas import COMMANDS

from ..conftest import Server


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_is_a_route_with_its_own_schema(server: Server, word: str) -> None:
    document = server.http.get("/v1/openapi.json").json()
    route = document["paths"][f"/v1/sessions/{{session_id}}/{word}"]["post"]
    schema = route["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert schema == f"#/components/schemas/{COMMANDS[word].__name__}"
    assert set(document["components"]["schemas"][COMMANDS[word].__name__]["properties"]) == set(
        COMMANDS[word].model_fields
    )
    assert route["operationId"] == word
    assert route["description"]
    answer = route["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert answer == "#/components/schemas/CommandAnswer"


def test_the_socket_names_every_command(server: Server) -> None:
    server.open()
    with server.socket() as socket:
        socket.send_json(
            {"type": "hello", "lease": server.headers["X-Lease"], "token": "let-me-in"}
        )
        assert socket.receive_json()["type"] == "hello"
        socket.send_json({"type": "fly"})
        detail = socket.receive_json()["detail"]
    assert all(word in detail for word in COMMANDS)
