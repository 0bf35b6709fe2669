// Sends requests by dcmjs-dimse: node n_set.js PORT MODULES [CA] <requests.json >responses.json
// With the certificate of an authority, over TLS.
// A request: {"service": "N-SET", "sop_class": UID, "instance": UID, "data_set": {keyword: value}}.
"use strict";

const fs = require("fs");
const path = require("path");

const [port, modules, ca] = process.argv.slice(2);
const dimse = require(path.join(modules, "dcmjs-dimse"));
dimse.log.setLevel("warn");
const kinds = {
  "C-ECHO": () => new dimse.requests.CEchoRequest(),
  "N-CREATE": (one) => new dimse.requests.NCreateRequest(one.sop_class, one.instance),
  "N-SET": (one) => new dimse.requests.NSetRequest(one.sop_class, one.instance),
};

const responses = [];
const client = new dimse.Client();
for (const [index, one] of JSON.parse(fs.readFileSync(0, "utf8")).entries()) {
  const request = kinds[one.service](one);
  if (one.data_set) {
    request.setDataset(new dimse.Dataset(one.data_set));
  }
  request.on("response", (response) => {
    const dataSet = response.getDataset();
    responses.push({
      index: index,
      status: response.getStatus(),
      comment: response.getErrorComment() || null,
      data_set: dataSet ? dataSet.getElements() : null,
    });
  });
  client.addRequest(request);
}

let isReleased = false;
client.on("associationReleased", () => (isReleased = true));
for (const end of ["networkError", "associationRejected"]) {
  client.on(end, (reason) => {
    console.error(end, reason);
    process.exitCode = 1;
  });
}
client.on("closed", () => {
  const plain = (key, value) => (key === "_vrMap" ? undefined : value);
  console.log(JSON.stringify({ responses: responses, released: isReleased }, plain));
});
const options = ca ? { securityOptions: { ca: fs.readFileSync(ca) } } : {};
client.send("127.0.0.1", Number(port), "DCMJS", "NSET", options);
