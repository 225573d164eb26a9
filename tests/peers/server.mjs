// A gRPC server as anybody would write it, with grpc-js. It listens where LISTEN says, and has no health
// service.

import http from 'node:http';
import grpc from '@grpc/grpc-js';
import { Peer, PIECE } from './peer.mjs';

const LIMIT_BYTES = 32 << 20;
const states = new Map();

/** Sends `x-echo-*` back in the headers; returns what the trailers shall have. */
function echoMetadata(call) {
  const [initial, trailing] = [new grpc.Metadata(), new grpc.Metadata()];
  for (const key of Object.keys(call.metadata.getMap()).filter((key) => key.startsWith('x-echo-'))) {
    for (const value of call.metadata.get(key)) {
      initial.add(key.replace('x-echo-', 'x-initial-'), value);
      trailing.add(key.replace('x-echo-', 'x-trailing-'), value);
    }
  }
  call.sendMetadata(initial);
  return trailing;
}

/** Does what a request asks besides an answer. True if the call is not answered. */
function obey(request, call, fail) {
  if (request.act === 'code') {
    fail({ code: request.number, details: `code ${request.number}` });
  } else if (request.act === 'fail') {
    const metadata = new grpc.Metadata();
    metadata.set('grpc-status-details-bin', request.payload);
    metadata.set('x-why-bin', Buffer.from([0, 255, ...Buffer.from('why')]));
    fail({ ...statusOf(request.payload), metadata });
  } else if (request.act === 'hang') {
    states.set(request.id, 'started');
    call.on('cancelled', () => states.set(request.id, 'over'));
  } else {
    return false;
  }
  return true;
}

/** Code and message of a google.rpc.Status: fields 1 and 2, both short. */
function statusOf(bytes) {
  const length = bytes[3];
  return { code: bytes[1], details: bytes.subarray(4, 4 + length).toString('utf8') };
}

function reply(request, call, requests, received) {
  const deadline = call.getDeadline();
  return {
    payload: request.payload,
    requests,
    received,
    remaining: deadline === Infinity ? 0 : Math.max(0, Math.floor(new Date(deadline) - Date.now())),
    caller: String(call.metadata.get('x-weft-caller')[0] ?? ''),
    state: states.get(request.id) ?? 'unknown',
  };
}

function unary(call, done) {
  const trailing = echoMetadata(call);
  if (obey(call.request, call, done)) return;
  done(null, reply(call.request, call, 1, call.request.payload.length), trailing);
}

function collect(call, done) {
  const trailing = echoMetadata(call);
  let [requests, received, answered] = [0, 0, false];
  call.on('data', (request) => {
    requests += 1;
    received += request.payload.length;
    answered = answered || obey(request, call, done);
  });
  call.on('end', () => {
    if (!answered) done(null, reply({ payload: Buffer.alloc(0) }, call, requests, received), trailing);
  });
}

/** Waits until the caller has read enough. */
async function write(call, message) {
  call.setMaxListeners(0);
  if (!call.write(message)) await new Promise((resolve) => ['drain', 'cancelled'].forEach((name) => call.once(name, resolve)));
}

async function produce(call) {
  const { request } = call;
  const trailing = echoMetadata(call);
  const payload = PIECE.subarray(0, request.payload.length || PIECE.length);
  for (let number = 0; number < request.number && !call.cancelled; number += 1) {
    const now = number === 2 || request.act !== 'fail';
    if (now && obey(request, call, (error) => call.emit('error', error))) return;
    await write(call, reply({ payload }, call, number, 0));
  }
  call.end(trailing);
}

function converse(call) {
  const trailing = echoMetadata(call);
  let [number, received, failed, after] = [0, 0, false, { number: 0 }];
  call.on('data', (request) => {
    if (request.act === 'after') after = request;
    number += 1;
    received += request.payload.length;
    const now = number === 3 || request.act !== 'fail';
    failed = failed || (now && obey(request, call, (error) => call.emit('error', error)));
    if (!failed && !call.write(reply(request, call, number, received))) {
      call.pause();
      call.once('drain', () => call.resume());
    }
    if (request.act === 'finish') call.end(trailing);
  });
  call.on('end', () => {
    for (let more = 0; more < after.number; more += 1) call.write(reply(after, call, more, received));
    if (!failed) call.end(trailing);
  });
}

const server = new grpc.Server({
  'grpc.max_receive_message_length': LIMIT_BYTES,
  'grpc.max_send_message_length': LIMIT_BYTES,
});
server.addService(Peer.service, { unary, collect, produce, converse });
server.bindAsync(process.env.LISTEN, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});

// `weft up` asks whether the program has started.
const admin = new URL(`http://${process.env.ADMIN_LISTEN}`);
http.createServer((_, response) => response.end()).listen(Number(admin.port), admin.hostname);

process.stdin.on('end', () => process.exit(0)).resume();
process.on('SIGTERM', () => process.exit(0));
