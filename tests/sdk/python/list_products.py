"""Lists every product of a running shop with the generated Python client.

Usage: list_products.py HOST:PORT. Prints one line of JSON: the number of products, the first one's
name, and the code that reading an unknown product fails with.
"""

import json
import sys

import grpc
from sockshop.catalogue.v1 import catalogue_pb2, catalogue_pb2_grpc

TIMEOUT_SECONDS = 20


def all_products(catalogue: catalogue_pb2_grpc.CatalogueServiceStub):
    """Yields the products, page by page."""
    token = ""
    while True:
        request = catalogue_pb2.ListProductsRequest(page_size=25, page_token=token)
        page = catalogue.ListProducts(request, timeout=TIMEOUT_SECONDS)
        yield from page.products
        token = page.next_page_token
        if not token:
            return


def code_of_unknown(catalogue: catalogue_pb2_grpc.CatalogueServiceStub) -> str:
    """Reads a product that does not exist."""
    request = catalogue_pb2.GetProductRequest(name="products/no-such-sock")
    try:
        catalogue.GetProduct(request, timeout=TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def main() -> None:
    """Asks the edge at the address given."""
    with grpc.insecure_channel(sys.argv[1]) as channel:
        catalogue = catalogue_pb2_grpc.CatalogueServiceStub(channel)
        names = [product.name for product in all_products(catalogue)]
        answer = {"products": len(names), "first": names[0], "unknown": code_of_unknown(catalogue)}
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
