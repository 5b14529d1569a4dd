"""What tests expect of every reply of the API, good or bad."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from werkzeug.test import TestResponse

from readerflow.webapp import models
from readerflow.webapp.exchange import SECURITY_HEADERS


def ok(response: TestResponse, shape: type[BaseModel] | None = None) -> Any:
    """The JSON of a good reply; of a shape of the API, where one is given."""
    assert response.status_code == 200, response.get_data(as_text=True)
    if shape is not None:
        shape.model_validate(response.get_json())
    return response.get_json()


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    """The problem document of a refusal."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.mimetype == "application/problem+json"
    told: dict[str, Any] = json.loads(response.data)
    models.ProblemDetails.model_validate(told)
    assert told["status"] == status
    assert told["detail"]
    for name, value in SECURITY_HEADERS.items():
        assert response.headers[name] == value
    return told
