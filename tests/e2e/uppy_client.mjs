// Sends a file with Uppy and @uppy/tus, and tells what happens, a line of JSON each: {"sent": n}, {"done": url}.
// node uppy_client.mjs ENDPOINT FILE OPTIONS — as tus_client.cjs; NODE_PATH says where the packages are.
import fs from "node:fs";
import { createRequire } from "node:module";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";

// What is imported is not looked for in NODE_PATH; what is required is.
const require = createRequire(join(process.env.NODE_PATH, "here"));
const load = async (name) => (await import(pathToFileURL(require.resolve(name)))).default;
const [Uppy, Tus] = [await load("@uppy/core"), await load("@uppy/tus")];

const [endpoint, path, text] = process.argv.slice(2);
const { metadata = {}, ...options } = JSON.parse(text);
const tell = (event) => fs.writeSync(1, JSON.stringify(event) + "\n");

const data = fs.readFileSync(path); // a Buffer is what the client takes here, where a browser has a File
data.size = data.length;

const uppy = new Uppy().use(Tus, { endpoint, retryDelays: [50, 50, 100, 100, 200, 200, 400, 400], ...options });
uppy.on("upload-progress", (_file, { bytesUploaded }) => tell({ sent: bytesUploaded }));
uppy.on("upload-success", (_file, { uploadURL }) => tell({ done: uploadURL }));
uppy.addFile({ name: basename(path), data, meta: metadata });
const { failed } = await uppy.upload();
if (failed.length) {
  console.error(failed.map((file) => file.error).join("\n"));
  process.exit(1);
}
