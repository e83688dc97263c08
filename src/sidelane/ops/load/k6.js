// A load for k6, written by `sidelane load --write k6`. Run it with `k6 run FILE`.
// An event stream is read as one answer, which ends with the job: k6 itself cannot see its events one by one.
import http from "k6/http";
import { check, sleep } from "k6";
import exec from "k6/execution";
import { Trend, Counter } from "k6/metrics";

const plan = __PLAN__;

const accepted = new Trend("accepted", true);
const ended = new Trend("ended", true);
const refused = new Counter("refused");

const REFUSALS = [429, 503];
const timeout = `${plan.timeout}s`;

// 202, 429 and 503 are answers that a client of jobs expects.
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, ...REFUSALS));

function scenarios() {
  const all = {};
  if (plan.light) {
    all.light = { executor: "constant-arrival-rate", exec: "light", duration: `${plan.duration}s`, preAllocatedVUs: 50,
                  ...rate(plan.light_rate) };
  }
  const ending = { exec: "heavy", gracefulStop: timeout };
  if (plan.rate) {
    const vus = { preAllocatedVUs: Math.ceil(plan.rate * 10), maxVUs: Math.ceil(plan.rate * plan.timeout) + 10 };
    const steady = rate(plan.rate);
    all.heavy = plan.ramp
      ? { executor: "ramping-arrival-rate", startRate: 0, timeUnit: steady.timeUnit, stages: stages(steady.rate), ...vus, ...ending }
      : { executor: "constant-arrival-rate", duration: `${plan.duration}s`, ...steady, ...vus, ...ending };
  }
  if (plan.users) {
    all.heavy = plan.ramp
      ? { executor: "ramping-vus", startVUs: 0, gracefulRampDown: timeout, stages: stages(plan.users), ...ending }
      : { executor: "constant-vus", vus: plan.users, duration: `${plan.duration}s`, ...ending };
  }
  return all;
}

// k6 takes whole numbers: 2.5 a second is 2,500 in 1,000 seconds.
function rate(perSecond) {
  return Number.isInteger(perSecond) ? { rate: perSecond, timeUnit: "1s" } : { rate: Math.round(perSecond * 1000), timeUnit: "1000s" };
}

function stages(target) {
  return [{ duration: `${plan.ramp}s`, target }, { duration: `${plan.duration - plan.ramp}s`, target }];
}

export const options = {
  scenarios: scenarios(),
  thresholds: { http_req_failed: ["rate<0.01"], checks: ["rate>0.99"] },
  summaryTrendStats: ["avg", "p(50)", "p(95)", "p(99)", "max"],
};

function fill(text, number, user) {
  return text.replaceAll("{n}", String(number)).replaceAll("{user}", String(user));
}

function headers(number, user) {
  return Object.fromEntries(Object.entries(plan.headers).map(([name, value]) => [name, fill(value, number, user)]));
}

export function light() {
  const number = exec.scenario.iterationInTest + 1;
  const answer = http.get(plan.url + fill(plan.light, number, number), {
    headers: headers(number, number), timeout, tags: { name: `GET ${plan.light}` },
  });
  check(answer, { "light route answers": (each) => each.status < 400 });
}

export function heavy() {
  const number = exec.scenario.iterationInTest + 1;
  const user = plan.users ? exec.vu.idInTest : number;
  const route = plan.heavy[number % plan.heavy.length];
  const began = Date.now();
  const answer = submit(route, number, user, began);
  if (answer.status < 400 && !plan.stream) accepted.add(answer.timings.duration);
  const end = answer.status === 202 ? result(answer, headers(number, user), began) : answer;
  if (check(end, { "job succeeds": succeeded })) ended.add(Date.now() - began);
  if (plan.think) sleep(plan.think * (0.5 + Math.random()));
}

function submit(route, number, user, began) {
  const sent = { ...headers(number, user) };
  if (route.body !== null) sent["Content-Type"] = "application/json";
  if (plan.stream) sent.Accept = "text/event-stream";
  if (plan.wait !== null) sent.Prefer = `wait=${plan.wait}`;
  const body = route.body === null ? null : fill(route.body, number, user);
  for (;;) {
    const answer = http.post(plan.url + fill(route.path, number, user), body, {
      headers: sent, timeout, tags: { name: `POST ${route.path}` },
    });
    if (!REFUSALS.includes(answer.status) || Date.now() - began > plan.timeout * 1000) return answer;
    refused.add(1);
    sleep(retryAfter(answer));
  }
}

function result(answer, sent, began) {
  const document = answer.json();
  const link = (document.links && document.links.result) || document.result_url;
  if (!link) return answer;
  const url = link.startsWith("/") ? plan.url.replace(/^(https?:\/\/[^/]+).*/, "$1") + link : link;
  while ([202, ...REFUSALS].includes(answer.status) && Date.now() - began < plan.timeout * 1000) {
    sleep(retryAfter(answer));
    answer = http.get(url, { headers: sent, timeout, tags: { name: "GET result" } });
  }
  return answer;
}

// A stream that ends with another state than "succeeded" is a job that failed.
function succeeded(answer) {
  if (answer.status === 0 || answer.status >= 400 || REFUSALS.includes(answer.status)) return false;
  if (!plan.stream) return true;
  const end = /^event: end\ndata: (.*)$/m.exec(answer.body);
  return end === null || JSON.parse(end[1]).state === "succeeded";
}

function retryAfter(answer) {
  return Number(answer.headers["Retry-After"]) || 1;
}
