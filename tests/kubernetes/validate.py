"""Checks rendered Kubernetes resources offline and prints them as JSON.

Usage: validate.py < rendered.yaml. Kinds of Kubernetes itself are checked by the schemas of
kubernetes-validate, those of Istio and of the Gateway API by the definitions their projects publish
(tests/tools/install fetches them), Linkerd's by linkerd.yaml beside this file. Unknown fields are
errors, as they are for `kubectl apply --validate=strict`. All problems are printed; exits 1 if any.
"""

import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).parent
DEFINITIONS = HERE.parent / ".tools" / "crds"
KUBERNETES = "1.37"
# The parser in C where the wheel has it: the definitions are long.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def strict(schema):
    """The schema in plain JSON Schema, with unknown fields refused as the API server does."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    plain = {}
    for key, value in schema.items():
        if key in ("oneOf", "anyOf", "allOf", "not"):
            # Only narrows what the properties beside it allow; must not refuse those.
            plain[key] = value
        elif key == "properties":
            plain[key] = {name: strict(part) for name, part in value.items()}
        elif not key.startswith("x-kubernetes"):
            plain[key] = strict(value)
    # `format` and `description` may be names of fields: only schemas are turned here, see above.
    known = "properties" in schema and "additionalProperties" not in schema
    if known and not schema.get("x-kubernetes-preserve-unknown-fields"):
        plain["additionalProperties"] = False
    return plain


def custom_schemas():
    """Schemas of `spec` by `group/version/kind`."""
    schemas = {}
    for path in sorted(DEFINITIONS.glob("*.yaml")):
        for definition in yaml.load_all(path.read_text(encoding="utf-8"), LOADER):
            if not definition or definition.get("kind") != "CustomResourceDefinition":
                continue
            spec = definition["spec"]
            for version in spec["versions"]:
                if version["served"]:
                    key = f"{spec['group']}/{version['name']}/{spec['names']['kind']}"
                    properties = version["schema"]["openAPIV3Schema"]["properties"]
                    schemas[key] = strict(properties["spec"])
    linkerd = yaml.load((HERE / "linkerd.yaml").read_text(encoding="utf-8"), LOADER)
    schemas.update({key: strict(schema) for key, schema in linkerd["kinds"].items()})
    return schemas


def problems_of(resource, schemas):
    """What is wrong with one resource, one line each."""
    group = resource["apiVersion"].rpartition("/")[0]
    custom = group.endswith((".istio.io", ".linkerd.io")) or group == "gateway.networking.k8s.io"
    if not custom:
        try:
            kubernetes_validate.validate(resource, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{'.'.join(map(str, error.path))}: {error.message}"
        return
    key = f"{resource['apiVersion']}/{resource['kind']}"
    if key not in schemas:
        yield f"no definition of {key}"
        return
    unknown = set(resource) - {"apiVersion", "kind", "metadata", "spec"}
    if unknown:
        yield f"unknown fields {sorted(unknown)}"
    for error in jsonschema.Draft202012Validator(schemas[key]).iter_errors(resource.get("spec", {})):
        yield f"spec.{'.'.join(map(str, error.absolute_path))}: {error.message}"


def main():
    """Reads YAML, prints JSON."""
    resources = [resource for resource in yaml.load_all(sys.stdin, LOADER) if resource]
    schemas = custom_schemas()
    failed = False
    for resource in resources:
        name = f"{resource['kind']} {resource['metadata']['name']}"
        for problem in problems_of(resource, schemas):
            failed = True
            print(f"{name}: {problem}", file=sys.stderr)
    json.dump(resources, sys.stdout)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
