// Drives a Toxiproxy server with the published Node client. Usage: drive.cjs API_URL ECHO_HOST:PORT
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const net = require("node:net");
const path = require("node:path");
const { Toxiproxy } = require("toxiproxy-node-client");

const [url, upstream] = process.argv.slice(2);
const toxics = JSON.parse(fs.readFileSync(path.join(__dirname, "..", "toxics.json"), "utf8"));

/** Sends a byte through `listen` and waits for its echo. */
function ping(listen) {
  const [host, port] = [listen.slice(0, listen.lastIndexOf(":")), Number(listen.slice(listen.lastIndexOf(":") + 1))];
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, host, () => socket.write("x"));
    socket.setTimeout(10000, () => socket.destroy(new Error("no echo within 10 s")));
    socket.once("data", () => { socket.destroy(); resolve(); });
    socket.once("error", reject);
    socket.once("end", () => reject(new Error("ended")));
  });
}

async function refused(what, promise) {
  await assert.rejects(promise, undefined, `${what} was not refused`);
}

async function drive() {
  const server = new Toxiproxy(url);
  assert.match(await server.getVersion(), /"version"/);
  let proxy = await server.createProxy({ name: "node", listen: "127.0.0.1:0", upstream });
  assert.equal(proxy.enabled, true);
  assert.match(proxy.listen, /^127\.0\.0\.1:[1-9][0-9]*$/);
  await refused("a second proxy of that name", server.createProxy({ name: "node", listen: "127.0.0.1:0", upstream }));
  assert.deepEqual((await server.get("node")).toJson(), proxy.toJson());
  assert.deepEqual((await server.getAll()).node.toJson(), proxy.toJson());
  await ping(proxy.listen);

  for (const { type, attributes, update } of toxics) {
    for (const stream of ["upstream", "downstream"]) {
      const wanted = { name: `${type}-${stream}`, type, stream, toxicity: 0.5, attributes };
      const toxic = await proxy.addToxic(wanted);
      assert.deepEqual(toxic.toJson(), wanted);
      assert.deepEqual((await proxy.getToxic(wanted.name)).toJson(), wanted);
      const changed = { ...wanted, toxicity: 0.25, attributes: { ...attributes, ...update } };
      assert.deepEqual((await toxic.update({ attributes: update, toxicity: 0.25 })).toJson(), changed);
      assert.deepEqual((await proxy.getToxic(wanted.name)).toJson(), changed);
      await toxic.remove();
      await refused(`${wanted.name}, removed`, proxy.getToxic(wanted.name));
    }
  }
  const named = await proxy.addToxic({ type: "latency", attributes: { latency: 1 } });
  assert.deepEqual(named.toJson(),
    { name: "latency_downstream", type: "latency", stream: "downstream", toxicity: 1, attributes: { latency: 1, jitter: 0 } });
  await ping(proxy.listen);
  await refused("an unknown toxic", proxy.addToxic({ type: "nonsense", attributes: {} }));

  proxy = await proxy.update({ enabled: false });
  assert.equal(proxy.enabled, false);
  await refused("a connection to a disabled proxy", ping(proxy.listen));
  proxy = await proxy.update({ enabled: true });
  await ping(proxy.listen);

  const populated = await server.populate([
    { name: "node", listen: proxy.listen, upstream },
    { name: "node-2", listen: "127.0.0.1:0", upstream, enabled: false },
  ]);
  assert.deepEqual(Object.keys(populated).sort(), ["node", "node-2"]);
  assert.equal(populated["node-2"].enabled, false);
  assert.equal((await proxy.getToxic("latency_downstream")).attributes.latency, 1);
  await server.reset();
  await refused("a toxic after the reset", proxy.getToxic("latency_downstream"));
  const second = await server.get("node-2");
  assert.equal(second.enabled, true);
  await ping(second.listen);
  for (const gone of [proxy, second]) {
    await gone.remove();
    await refused("a deleted proxy", server.get(gone.name));
    await refused("a connection to a deleted proxy", ping(gone.listen));
  }
  assert.equal((await server.getAll()).node, undefined);
}

drive().catch((error) => {
  console.error(`node client: ${error.stack}`);
  process.exitCode = 1;
});
