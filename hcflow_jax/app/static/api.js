// The server: a session, files sent to it, jobs asked of it and what they come to.

let session = null;
let ready = null;
const jobs = new Map(); // number -> what was last told of it
const waiting = new Map(); // number -> {update, resolve, reject}
const listeners = { ready: [], lost: [], back: [] };
const PATIENCE = 5000; // milliseconds without a connection after which the app is taken to have ended
let stream = null;
let missing = null; // the timer of PATIENCE

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
  connect();
  document.addEventListener("visibilitychange", () => (document.hidden ? away() : connect()));
  if (document.hidden) away();
  addEventListener("pagehide", () => navigator.sendBeacon(`/api/${session}/close`));
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  return found;
}

const tell = (what) => listeners[what].forEach((listener) => listener());

// Listens to what becomes of jobs: all of them are told of again.
function connect() {
  if (stream && stream.readyState !== EventSource.CLOSED) return;
  stream = new EventSource(`/api/${session}/events`);
  stream.onmessage = (event) => told(JSON.parse(event.data));
  stream.onopen = () => {
    clearTimeout(missing);
    missing = null;
    if (ready) tell("back");
  };
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) lose();
    else missing ??= setTimeout(lose, PATIENCE);
  };
}

function lose() {
  for (const { reject } of waiting.values()) reject(new Error("the app has ended, and this with it"));
  waiting.clear();
  tell("lost");
}

// Gives the connection back, of which browsers allow a host six, while nobody sees the page.
async function away() {
  const found = await fetch(`/api/${session}/away`, { method: "POST", keepalive: true }).catch(() => null);
  if (!found?.ok || !document.hidden) return;
  stream.close();
  clearTimeout(missing);
  missing = null;
}

function told(job) {
  if (job.ready) {
    const first = !ready;
    ready = job.ready;
    if (first) tell("ready");
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
