// Sends a file with tus-js-client, and tells what happens, a line of JSON each: {"sent": n}, {"done": url}.
// node tus_client.cjs ENDPOINT FILE OPTIONS — options as the client takes them, in JSON.
const fs = require("node:fs");
const tus = require("tus-js-client");

const [endpoint, path, options] = process.argv.slice(2);
const tell = (event) => fs.writeSync(1, JSON.stringify(event) + "\n");

const upload = new tus.Upload(fs.createReadStream(path), {
  endpoint,
  retryDelays: [50, 50, 100, 100, 200, 200, 400, 400],
  ...JSON.parse(options),
  onProgress: (sent) => tell({ sent }),
  onShouldRetry: () => true,
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess: () => tell({ done: upload.url }),
});
upload.start();
