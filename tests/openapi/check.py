"""Checks an OpenAPI document against the specification, and answers of the edge against the document.

Usage: check.py EDGE_URL. Prints one line of JSON: how many operations there are, and how many answers were
checked. Fails with the first problems.
"""

import json
import sys
import urllib.error
import urllib.request

from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

EDGE = sys.argv[1]
# One read a shape of answer: a page, a bare resource, another method's binding, an error.
READS = [
    ("/v1/products", "/v1/products?pageSize=100", 200),
    ("/v1/products/{product}", "/v1/products/lemon-grove", 200),
    ("/v1/categories", "/v1/categories", 200),
    ("/.well-known/jwks.json", "/.well-known/jwks.json", 200),
    ("/v1/products/{product}", "/v1/products/no-such-sock", 404),
    ("/v1/products", "/v1/products?pageSize=many", 400),
    ("/v1/orders", "/v1/orders", 401),
]


def get(path: str) -> tuple[int, object]:
    """The status and JSON of a path."""
    try:
        with urllib.request.urlopen(EDGE + path, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def closed(schema: object) -> object:
    """The same schema, but an object may have no properties that it does not name."""
    if isinstance(schema, list):
        return [closed(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: closed(inner) for key, inner in schema.items()}
    if isinstance(out.get("properties"), dict):
        out.setdefault("additionalProperties", False)
    return out


def main() -> None:
    _, document = get("/openapi.json")
    where = "{} {}".format
    problems = [
        where("/".join(map(str, error.absolute_path)), error.message)
        for error in OpenAPIV31SpecValidator(document).iter_errors()
    ]
    components = closed(document["components"])
    for template, path, expected in READS:
        status, answer = get(path)
        if status != expected:
            problems.append(f"{path}: {status} instead of {expected}")
        responses = document["paths"][template]["get"]["responses"]
        described = responses.get(str(status), responses["default"])
        schema = closed(described["content"]["application/json"]["schema"])
        checker = OAS31Validator({**schema, "components": components})
        for error in checker.iter_errors(answer):
            problems.append(f"{path} at {error.json_path}: {error.message}"[:500])
    if problems:
        sys.exit("\n".join(problems[:20]))
    operations = sum(len(item) for item in document["paths"].values())
    print(json.dumps({"operations": operations, "answers": len(READS)}))


main()
