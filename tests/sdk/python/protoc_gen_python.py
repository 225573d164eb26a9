"""A buf plugin: messages, type stubs and gRPC clients for Python.

grpcio-tools holds its generators inside a protoc of its own, not as plugins. This program speaks the
plugin protocol with buf and hands the work to that protoc, files and imports already parsed.
"""

import pathlib
import sys
import tempfile

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2
from grpc_tools import protoc

GENERATORS = ("python", "pyi", "grpc_python")


def generate(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """Runs all generators over the files of `request`."""
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        image = root / "image.binpb"
        files = descriptor_pb2.FileDescriptorSet(file=request.proto_file)
        image.write_bytes(files.SerializeToString())
        out = root / "out"
        out.mkdir()
        arguments = [f"--descriptor_set_in={image}"]
        arguments += [f"--{generator}_out={out}" for generator in GENERATORS]
        if protoc.main(["protoc", *arguments, *request.file_to_generate]) != 0:
            response.error = "grpcio-tools failed, see its messages above"
            return response
        for path in sorted(out.rglob("*")):
            if path.is_file():
                name = path.relative_to(out).as_posix()
                response.file.add(name=name, content=path.read_text(encoding="utf-8"))
    return response


if __name__ == "__main__":
    asked = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(generate(asked).SerializeToString())
