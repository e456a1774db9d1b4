// The page: uploads go from the browser to Bucketline, and never through Django, which only says that they may.
import Uppy from "@uppy/core";
import Dashboard from "@uppy/dashboard";
import Tus from "@uppy/tus";
import "@uppy/core/css/style.min.css";
import "@uppy/dashboard/css/style.min.css";

const page = JSON.parse(document.getElementById("page").textContent);
const OVER = ["succeeded", "partially_succeeded", "failed", "cancelled", "expired", "refused"];
const uploads = new Map(); // Uppy's file id -> what Django said of it

async function ask(url, options = {}) {
  const answer = await fetch(url, options);
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.error ?? `${url} answered ${answer.status}`);
  return told;
}

const post = (url, body) => ask(url, { method: "POST", body, headers: { "X-CSRFToken": page.csrf } });

// -- from the browser to Bucketline ----------------------------------------------------------------------------------

const uppy = new Uppy({ restrictions: { maxFileSize: page.maxSize } })
  .use(Dashboard, { target: "#uploader", inline: true, height: 300, proudlyDisplayPoweredByUppy: false })
  .use(Tus, {
    endpoint: `${page.bucketline}/v1/tus`,
    retryDelays: [0, 500, 1000, 2000, 4000, 8000, 16000],
    allowedMetaFields: ["name", "type", "key"],
    storeFingerprintForResuming: false, // each upload has a token of its own, which goes with the page
  });

// Before the first byte: Django makes a row for each file, and a token that is good for this one file.
uppy.addPreProcessor(async (ids) => {
  for (const id of ids.filter((one) => !uploads.has(one))) {
    const { name, size } = uppy.getFile(id);
    const media = await post("/upload/page/", JSON.stringify({ name, size }));
    media.watchedWith = media.token;
    uploads.set(id, media);
    uppy.setFileMeta(id, { key: media.key });
    uppy.setFileState(id, {
      tus: {
        async onBeforeRequest(request) {
          request.setHeader("Authorization", `Bearer ${await tokenOf(media)}`);
        },
        onAfterResponse(_request, response) {
          media.job = response.getHeader("Bucketline-Job") ?? media.job;
        },
      },
    });
  }
});

async function tokenOf(media) {
  if (new Date(media.expires) - Date.now() < 60_000) {
    const { token, expires } = await post(`/upload/page/${media.id}/`);
    Object.assign(media, { token, expires });
  }
  return media.token;
}

uppy.on("upload-success", (file) => {
  const { id, job, watchedWith } = uploads.get(file.id);
  watch(id, file.name, `${page.bucketline}/v1/jobs/${job}/events?access_token=${watchedWith}`);
});
uppy.on("upload-error", (file) => (uploads.get(file.id).expires = 0)); // who tries again does so with another token
uppy.on("file-removed", (file) => uploads.delete(file.id));

// -- through Django --------------------------------------------------------------------------------------------------

for (const form of document.querySelectorAll("form.hand-over")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = form.elements.file.files[0].name;
    const said = form.querySelector("output");
    said.textContent = "…";
    try {
      const { id, events } = await post(form.action, new FormData(form));
      said.textContent = "";
      form.reset();
      watch(id, name, events);
    } catch (error) {
      said.textContent = error.message;
    }
  });
}

// -- from Bucketline to the bucket -----------------------------------------------------------------------------------

function watch(id, name, events) {
  const row = document.getElementById("row").content.cloneNode(true).firstElementChild;
  row.dataset.id = id;
  row.querySelector(".name").textContent = name;
  document.getElementById("files").prepend(row);

  const source = new EventSource(events);
  let size = null;
  const show = ({ data }) => {
    const job = JSON.parse(data);
    size = job.size ?? size;
    row.querySelector("progress").value = size ? job.sent / size : Number(job.state === "succeeded");
    say(row, job.state);
  };
  for (const type of ["snapshot", "progress", "transfer", "state", "end"]) source.addEventListener(type, show);
  source.addEventListener("end", () => source.close());
  // A lost connection comes back by itself. One that was refused (the token has ended) does not: then Django is asked,
  // whom the webhook tells.
  source.addEventListener("error", () => source.readyState === EventSource.CLOSED && poll(row, id));
}

async function poll(row, id) {
  try {
    const { state } = await ask(`/files/${id}/`);
    say(row, state);
    if (OVER.includes(state)) return;
  } catch {
    // tried again
  }
  setTimeout(poll, 2000, row, id);
}

function say(row, state) {
  row.dataset.state = state;
  row.querySelector(".state").textContent = state;
}
