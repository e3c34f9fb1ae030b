// The server: a session, files sent to it, jobs asked of it and what they come to.

let session = null;
let ready = null;
const jobs = new Map(); // number -> what was last told of it
const waiting = new Map(); // number -> {update, resolve, reject}
const listeners = { ready: [], lost: [] };

export const on = (what, listener) => listeners[what].push(listener);
export const networks = () => ready;
export const fileAddress = (name, as) => `/api/${session}/files/${name}${as ? `?as=${as}` : ""}`;

async function answer(response) {
  const found = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new Error(found?.error ?? `the app answered ${response.status}`);
  return found;
}

async function post(path, body) {
  let response;
  try {
    response = await fetch(path, { method: "POST", body });
  } catch {
    throw new Error("the app does not answer; is it still running?");
  }
  return answer(response);
}

// What a new page is told: {session, folders, samples, max_upload, max_pixels, root}.
export async function open() {
  const found = await post("/api/sessions");
  session = found.session;
  const stream = new EventSource(`/api/${session}/events`);
  stream.onmessage = (event) => told(JSON.parse(event.data));
  stream.onerror = () => {
    if (stream.readyState !== EventSource.CLOSED) return;
    for (const { reject } of waiting.values()) reject(new Error("the app was closed"));
    waiting.clear();
    listeners.lost.forEach((listener) => listener());
  };
  addEventListener("pagehide", () => navigator.sendBeacon(`/api/${session}/close`));
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  return found;
}

function told(job) {
  if (job.ready) {
    ready = job.ready;
    listeners.ready.forEach((listener) => listener());
    return;
  }
  jobs.set(job.number, job);
  const whose = waiting.get(job.number);
  if (!whose) return;
  whose.update(job);
  if (job.state === "waiting" || job.state === "running") return;
  waiting.delete(job.number);
  if (job.state === "done") whose.resolve(job);
  else whose.reject(job.state === "failed" ? new Error(job.error) : null);
}

export const upload = (blob) => post(`/api/${session}/pictures`, blob);
export const sample = (name) => post(`/api/${session}/samples/${name}`);
export const cancel = (number) =>
  fetch(`/api/${session}/jobs/${number}`, { method: "DELETE" }).catch(() => null);

// The finished job; an error that is null where it was cancelled. `update` gets it on the way.
export async function ask(job, update) {
  const { job: number } = await post(`/api/${session}/jobs`, JSON.stringify(job));
  return new Promise((resolve, reject) => {
    waiting.set(number, { update, resolve, reject });
    if (jobs.has(number)) told(jobs.get(number));
    else update({ number, state: "waiting", ahead: 0, queue: 1 });
  });
}
