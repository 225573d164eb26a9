// Lists every product of a running shop with the generated TypeScript client, over gRPC.
//
// Usage: node list_products.js HOST:PORT. Prints one line of JSON: the number of products, the first
// one's name, and the code that reading an unknown product fails with.

import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import {
  CatalogueService,
  type Product,
} from "../../.tools/gen/typescript/sockshop/catalogue/v1/catalogue_pb.js";

type Catalogue = Client<typeof CatalogueService>;

/** Yields the products, page by page. */
async function* allProducts(catalogue: Catalogue): AsyncGenerator<Product, void, undefined> {
  let pageToken = "";
  do {
    const page = await catalogue.listProducts({ pageSize: 25, pageToken });
    yield* page.products;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

/** Reads a product that does not exist. */
async function codeOfUnknown(catalogue: Catalogue): Promise<string> {
  try {
    await catalogue.getProduct({ name: "products/no-such-sock" });
    return "OK";
  } catch (error) {
    return Code[ConnectError.from(error).code];
  }
}

const address = process.argv[2];
const transport = createGrpcTransport({ baseUrl: `http://${address}`, defaultTimeoutMs: 20_000 });
const catalogue = createClient(CatalogueService, transport);
const names: string[] = [];
for await (const product of allProducts(catalogue)) {
  names.push(product.name);
}
const unknown = await codeOfUnknown(catalogue);
console.log(JSON.stringify({ products: names.length, first: names[0], unknown }));
