// Follows a server stream of the edge with fetch, because EventSource cannot send a token.

import { ApiError, pause, request } from "./api.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 8000;

/**
 * Calls `onMessage` with every message of `GET path` until `isLast(message)`. A stream that breaks or ends
 * early is opened again; each starts with the current state, so nothing is missed. `onLink(open)` tells
 * whether the stream is open. Throws what repeating cannot help: 4xx answers, or the signal's abort.
 */
export async function follow(path, { onMessage, onLink, isLast, signal }) {
  for (let wait = FIRST_PAUSE; ; wait = Math.min(wait * 2, LONGEST_PAUSE)) {
    try {
      const response = await request("GET", path, { signal, accept: "text/event-stream" });
      onLink(true);
      for await (const message of events(response.body)) {
        wait = FIRST_PAUSE;
        onMessage(message);
        if (isLast(message)) return;
      }
    } catch (error) {
      if (error.name === "AbortError") throw error;
      const refused = error instanceof ApiError && !error.uncertain;
      if (refused) throw error;
    }
    onLink(false);
    await pause(wait);
  }
}

/** The messages of a stream of server-sent events; a `failure` throws `ApiError`, an `end` has no message. */
async function* events(body) {
  let event = "message";
  let data = [];
  for await (const line of lines(body)) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
    else if (line === "") {
      if (data.length > 0 && event !== "end") yield parsed(event, data.join("\n"));
      event = "message";
      data = [];
    }
  }
}

function parsed(event, text) {
  const message = JSON.parse(text);
  if (event === "failure") throw new ApiError(httpStatus(message.code), message);
  return message;
}

/** The HTTP status of a gRPC code, as far as it matters here: is it of use to try again? */
function httpStatus(code) {
  return { 3: 400, 5: 404, 7: 403, 9: 400, 12: 501, 16: 401 }[code] ?? 503;
}

/** Lines of a byte stream, without their ends; LF and CRLF both end one. */
async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) yield part.replace(/\r$/, "");
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
