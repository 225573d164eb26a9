// A gRPC client as anybody would write it, with grpc-js. Prints what it saw as one JSON object, the same
// one as `client.py`.
//
// Usage: client.mjs SIDECAR RELAY AUTHORITY DETAILS, as for `client.py`.

import grpc from '@grpc/grpc-js';
import { Peer, PIECE } from './peer.mjs';

const [sidecar, relay, authority, details] = process.argv.slice(2);
const TIMEOUT = 30_000;
const MEBIBYTE = 1 << 20;

function connect(address, options = {}) {
  return new Peer(address, grpc.credentials.createInsecure(), {
    'grpc.default_authority': authority,
    'grpc.enable_http_proxy': 0,
    'grpc.enable_retries': 0,
    'grpc.max_receive_message_length': 32 * MEBIBYTE,
    'grpc.max_send_message_length': 32 * MEBIBYTE,
    ...options,
  });
}

const peer = connect(sidecar);
const within = (millis) => ({ deadline: Date.now() + millis });
const text = (values) => values.map((value) => (Buffer.isBuffer(value) ? value.toString('hex') : value));

/** Runs a call to its end: replies, headers, status. Never fails. */
function run(start) {
  const seen = { replies: [], initial: new grpc.Metadata() };
  const running = new Promise((resolve) => {
    const over = (status) => resolve(Object.assign(seen, { status }));
    const call = start((error, reply) => reply && seen.replies.push(reply));
    seen.call = call;
    call.on('metadata', (metadata) => (seen.initial = metadata));
    call.on('status', over);
    call.on('error', () => {});
    if (call.read) call.on('data', (reply) => seen.replies.push(reply));
  });
  return Object.assign(running, { seen });
}

/** Sends requests as fast as the other side takes them, then says that it is done. */
async function send(call, requests) {
  let over = false;
  call.setMaxListeners(0);
  call.on('status', () => (over = true));
  for (const request of requests) {
    if (over) return;
    if (!call.write(request)) await new Promise((resolve) => ['drain', 'status'].forEach((name) => call.once(name, resolve)));
  }
  call.end();
}

const call = {
  unary: (request, metadata = new grpc.Metadata(), options = within(TIMEOUT)) =>
    run((done) => peer.unary(request, metadata, options, done)),
  collect: (requests, options = within(TIMEOUT)) =>
    run((done) => {
      const call = peer.collect(new grpc.Metadata(), options, done);
      send(call, requests);
      return call;
    }),
  produce: (request, metadata = new grpc.Metadata(), options = within(TIMEOUT)) =>
    run(() => peer.produce(request, metadata, options)),
  converse: (requests, options = within(TIMEOUT)) =>
    run(() => {
      const call = peer.converse(new grpc.Metadata(), options);
      send(call, requests);
      return call;
    }),
};

function repeat(count, request) {
  return Array.from({ length: count }, () => request);
}

/** The reply of a call that must succeed. */
function only({ replies, status }) {
  if (status.code !== grpc.status.OK || replies.length !== 1) throw new Error(`${status.code} ${status.details}`);
  return replies[0];
}

function all({ replies, status }) {
  if (status.code !== grpc.status.OK) throw new Error(`${status.code} ${status.details}`);
  return replies;
}

async function unary() {
  const reply = only(await call.unary({ payload: Buffer.from('\0hello') }));
  return { payload: reply.payload.toString('hex'), requests: reply.requests, caller: reply.caller };
}

async function clientStream() {
  const reply = only(await call.collect(repeat(100, { payload: Buffer.alloc(1000) })));
  const nothing = only(await call.collect([]));
  return { requests: reply.requests, received: reply.received, empty: nothing.requests };
}

async function serverStream() {
  const replies = all(await call.produce({ payload: Buffer.alloc(1), number: 100 }));
  const nothing = all(await call.produce({ number: 0 }));
  return { replies: replies.length, ordered: replies.every((reply, at) => reply.requests === at), empty: nothing.length };
}

/** Says the next thing only when the last was answered. */
async function bidiStream() {
  const answered = [];
  const ended = await run(() => {
    const call = peer.converse(new grpc.Metadata(), within(TIMEOUT));
    call.on('data', (reply) => {
      answered.push(reply.payload[0]);
      if (answered.length < 50) call.write({ payload: Buffer.from([answered.length]) });
      else call.end();
    });
    call.write({ payload: Buffer.from([0]) });
    return call;
  });
  all(ended);
  return { replies: answered.length, ordered: answered.every((number, at) => number === at) };
}

/** The caller stops first and is answered on; the server stops first. */
async function halfCloses() {
  const after = all(await call.converse([{ act: 'after', number: 50 }])).map((reply) => reply.requests);
  let waiting = false;
  const { replies, status } = await run(() => {
    const call = peer.converse(new grpc.Metadata(), within(TIMEOUT));
    call.write({ payload: Buffer.from('x') });
    call.write({ act: 'finish' });
    waiting = !call.writableEnded;
    return call;
  });
  const expected = [1, ...Array(50).keys()];
  return { after: JSON.stringify(after) === JSON.stringify(expected), replies: replies.length, code: grpc.status[status.code], waiting };
}

/** More calls at once than a connection has streams. */
async function parallel() {
  const calls = Array.from({ length: 400 }, (_, number) => call.unary({ payload: Buffer.alloc(number) }));
  const replies = (await Promise.all(calls)).map(only);
  return { intact: replies.every((reply, number) => reply.payload.length === number) };
}

/** The values of each key that begins with `prefix`; several in one, as HTTP joins them. */
function plain(metadata, prefix) {
  const keys = Object.keys(metadata.getMap()).filter((key) => key.startsWith(prefix));
  return Object.fromEntries(keys.sort().map((key) => [key, text(metadata.get(key)).join(', ')]));
}

async function metadata() {
  const sent = new grpc.Metadata();
  sent.add('x-echo-text', 'one, two');
  sent.add('x-echo-text', 'three');
  sent.add('x-echo-data-bin', Buffer.from(Uint8Array.from({ length: 256 }, (_, at) => at)));
  sent.add('x-echo-data-bin', Buffer.alloc(0));
  const answers = [await call.unary({}, sent), await call.produce({ number: 3, payload: Buffer.alloc(1) }, sent)];
  const [one, other] = answers.map((answer) => ({
    initial: plain(answer.initial, 'x-initial-'),
    trailing: plain(answer.status.metadata, 'x-trailing-'),
  }));
  return { ...one, equal: JSON.stringify(one) === JSON.stringify(other) };
}

/** What a call failed with, and after how many replies. */
async function failure(running) {
  const { status, replies } = await running;
  const hex = (key) => text(status.metadata.get(key)).join();
  return {
    code: grpc.status[status.code],
    message: status.details,
    details: hex('grpc-status-details-bin'),
    why: hex('x-why-bin'),
    replies: replies.length,
  };
}

async function errors() {
  const fail = { act: 'fail', payload: Buffer.from(details, 'hex'), number: 9 };
  // More than fits into the windows on the way: whoever sends it must be told to stop.
  const endless = [fail, ...repeat(499, { payload: PIECE })];
  return {
    unary: await failure(call.unary(fail)),
    clientStream: await failure(call.collect(endless)),
    serverStream: await failure(call.produce(fail)),
    bidiStream: await failure(call.converse(repeat(9, fail))),
  };
}

async function codes() {
  const found = [];
  for (let number = 1; number <= 16; number += 1) {
    const { code, message } = await failure(call.unary({ act: 'code', number }));
    found.push([code, message]);
  }
  return found;
}

async function unknownMethod() {
  const same = (bytes) => bytes;
  const path = '/weft.tests.peers.v1.Peer/Nothing';
  const start = (done) => peer.makeUnaryRequest(path, same, same, Buffer.alloc(0), new grpc.Metadata(), within(TIMEOUT), done);
  return (await failure(run(start))).code;
}

async function compression() {
  const payload = Buffer.alloc(MEBIBYTE);
  const gzip = connect(relay, { 'grpc.default_compression_algorithm': grpc.compressionAlgorithms.gzip });
  const start = (done) => gzip.unary({ payload, act: 'compress' }, new grpc.Metadata(), within(TIMEOUT), done);
  const reply = only(await run(start));
  gzip.close();
  return { intact: payload.equals(reply.payload) };
}

/** Asks until the server says so. */
async function stateIs(id, state) {
  for (const until = Date.now() + TIMEOUT; Date.now() < until; ) {
    if (only(await call.unary({ id, act: 'state' })).state === state) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return false;
}

/** Calls of every kind that do not end by themselves. */
function hang(id, timeout) {
  const request = (kind) => ({ act: 'hang', id: `${id} ${kind}`, number: 1 });
  const open = (kind, start) => run((done) => {
    const call = start(done);
    call.write(request(kind));
    return call;
  });
  return {
    unary: call.unary(request('unary'), new grpc.Metadata(), within(timeout)),
    clientStream: open('clientStream', (done) => peer.collect(new grpc.Metadata(), within(timeout), done)),
    serverStream: call.produce(request('serverStream'), new grpc.Metadata(), within(timeout)),
    bidiStream: open('bidiStream', () => peer.converse(new grpc.Metadata(), within(timeout))),
  };
}

async function deadline() {
  const left = only(await call.unary({}, new grpc.Metadata(), within(5000))).remaining;
  const id = `${process.pid} deadline`;
  const expired = {};
  for (const [kind, running] of Object.entries(hang(id, 500))) {
    expired[kind] = [grpc.status[(await running).status.code], await stateIs(`${id} ${kind}`, 'over')];
  }
  const configured = only(await call.unary({}, new grpc.Metadata(), {})).remaining;
  return { left, configured, expired };
}

async function cancellation() {
  const id = `${process.pid} cancel`;
  const seen = {};
  for (const [kind, running] of Object.entries(hang(id, TIMEOUT))) {
    const started = await stateIs(`${id} ${kind}`, 'started');
    running.seen.call.cancel();
    seen[kind] = [started, grpc.status[(await running).status.code], await stateIs(`${id} ${kind}`, 'over')];
  }
  return seen;
}

async function largeMessage() {
  const payload = Buffer.concat(repeat(256, PIECE));
  const reply = only(await call.unary({ payload }));
  return { intact: payload.equals(reply.payload), bytes: payload.length };
}

async function largeStreams() {
  const pieces = 128;
  const up = only(await call.collect(repeat(pieces, { payload: PIECE })));
  const down = all(await call.produce({ number: pieces }));
  const both = all(await call.converse(repeat(pieces, { payload: PIECE })));
  const intact = (replies) => replies.length === pieces && replies.every((reply) => PIECE.equals(reply.payload));
  return { up: up.received, down: intact(down), both: intact(both) };
}

const cases = {
  unary, clientStream, serverStream, bidiStream, halfCloses, parallel, metadata, errors, codes, unknownMethod,
  compression, deadline, cancellation, largeMessage, largeStreams,
};
const seen = {};
for (const [name, tried] of Object.entries(cases)) {
  const began = Date.now();
  // A failed case does not stop the others.
  seen[name] = await tried().catch((error) => ({ error: error.stack }));
  console.error(`${name} ${Date.now() - began} ms`);
}
console.log(JSON.stringify(seen));
process.exit(0);
