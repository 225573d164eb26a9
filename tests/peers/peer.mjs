// What client and server share: the service of `peer.proto`, loaded at run time.

import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const file = fileURLToPath(new URL('peer.proto', import.meta.url));
const definition = loadSync(file, { longs: Number, defaults: true });

/** The client's constructor; its `service` is what a server implements. */
export const Peer = grpc.loadPackageDefinition(definition).weft.tests.peers.v1.Peer;

/** 64 KiB that are not all the same. */
export const PIECE = Buffer.from(Uint8Array.from({ length: 65536 }, (_, at) => at % 256));
