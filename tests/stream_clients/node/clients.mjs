// Unmodified clients of event streams under Node, each used as its documentation shows.
//
// node clients.mjs CLIENT URL: POST to the URL, follow the stream to its end, and print each event as a line of JSON. A broken stream
// is resumed with Last-Event-ID, by the client itself if it does that.
import { EventSource } from "eventsource";
import { EventSourceParserStream } from "eventsource-parser/stream";
import { events } from "fetch-event-stream";

const [, , client, url] = process.argv;

const print = (id, event, data) => console.log(JSON.stringify({ id, event, data: JSON.parse(data) }));
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// The loop of clients that parse one response: POST again, with the cursor, until the end has come.
async function resume(read) {
  let id = "";
  for (let ended = false; !ended; ) {
    try {
      const headers = { Accept: "text/event-stream", ...(id && { "Last-Event-ID": id }) };
      const response = await fetch(url, { method: "POST", headers });
      if (!response.ok) throw new Error(`status ${response.status}`);
      for await (const message of read(response)) {
        id = message.id || id;
        print(message.id, message.event, message.data);
        ended = ended || message.event === "end";
      }
    } catch (error) {
      if (error instanceof SyntaxError) throw error;
    }
    if (!ended) await pause(500);
  }
}

const clients = {
  async "fetch-event-source"() {
    const document = { addEventListener() {}, removeEventListener() {}, hidden: false };
    Object.assign(globalThis, { window: globalThis, document }); // it is made for browsers
    const { fetchEventSource } = await import("@microsoft/fetch-event-source");
    let ended = false;
    await fetchEventSource(url, {
      method: "POST",
      headers: { Accept: "text/event-stream" },
      openWhenHidden: true,
      onmessage(message) {
        print(message.id, message.event, message.data);
        ended = ended || message.event === "end";
      },
      onclose() {
        if (!ended) throw new Error("the server closed the stream before its end"); // so that it reconnects
      },
      onerror(error) {
        if (error instanceof SyntaxError) throw error; // of JSON.parse; anything else is retried
      },
    });
  },

  async eventsource() {
    const submitted = await (await fetch(url, { method: "POST" })).json();
    const source = new EventSource(new URL(submitted.links.events, url));
    await new Promise((resolve, reject) => {
      for (const name of ["job", "token", "end"]) {
        source.addEventListener(name, (message) => print(message.lastEventId, name, message.data));
      }
      source.addEventListener("end", resolve);
      source.addEventListener("error", () => source.readyState === source.CLOSED && reject(new Error("it gave up")));
    });
    source.close();
  },

  async "eventsource-parser"() {
    await resume((response) =>
      response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream()),
    );
  },

  async "fetch-event-stream"() {
    await resume((response) => events(response));
  },
};

await clients[client]();
